"""Blocks that are compiled one by one, and what torch's compiler must be told for that."""

import logging
from collections.abc import Callable, Sequence

from torch import nn

_VARIANTS = 8
"""Versions of a block's code that the compiler may make for each layer (training, validation, lengths of sequences)."""


def compile_blocks(blocks: Sequence[nn.Module], log: Callable[[str], None]) -> None:
    """Compile every block for itself, the first time that it is called.

    ``log`` is told where the compiler gives up: what it has no version for then runs without it, and only slower.
    """
    from torch._dynamo import config

    # Layers that differ are variants of one function to the compiler, which gives up after 8 by default, and after 256
    # of all functions together.
    limit = _VARIANTS * len(blocks)
    config.recompile_limit = max(config.recompile_limit, limit)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 2 * limit)
    # What a forward pass notes (the loads of experts) is collected before its block is made again.
    config.skip_fwd_side_effects_in_bwd_under_checkpoint = True
    # Under DDP, a graph would be cut at the borders of its buckets. A block is smaller than a bucket, and gradients are
    # exchanged between blocks in any case.
    config.optimize_ddp = False
    logger = logging.getLogger("torch._dynamo.convert_frame")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _GaveUp)]:
        logger.removeHandler(handler)
    logger.addHandler(_GaveUp(log))
    for block in blocks:
        block.compile()


class _GaveUp(logging.Handler):
    """Tells once that the compiler has reached its limit."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._log, self._told = log, False

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if self._told or "recompile_limit" not in message:
            return
        self._told = True
        lines = [line.strip() for line in message.splitlines()]
        reason = "; ".join(line for line in lines if line.startswith(("function:", "last reason:")))
        self._log(
            f"warning: the compiler made {_VARIANTS} versions a block and makes no more: some blocks run uncompiled, "
            f"and training is slower than it could be ({reason}). Fewer lengths of sequences (sequence_schedule) need "
            "fewer versions; compute.compile: false trains without"
        )
