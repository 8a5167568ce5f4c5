"""Compiles each block separately with torch's compiler, and sets the compiler's options for that."""

import logging
from collections.abc import Callable, Sequence

from torch import nn

_VARIANTS = 8
"""The number of versions per layer that the compiler may create (training, validation, sequence lengths)."""


def compile_blocks(blocks: Sequence[nn.Module], log: Callable[[str], None]) -> None:
    """Compile every block at its first call.

    When the compiler reaches its limit, further shapes run uncompiled, and ``log`` gets one line about it.
    """
    from torch._dynamo import config

    # To the compiler, layers that differ are versions of one function. By default it stops after 8 versions per
    # function and 256 in total.
    limit = _VARIANTS * len(blocks)
    config.recompile_limit = max(config.recompile_limit, limit)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 2 * limit)
    # Side effects of the forward pass (expert loads) are collected once, so recomputation skips them.
    config.skip_fwd_side_effects_in_bwd_under_checkpoint = True
    # With this option, DDP splits graphs at bucket boundaries. Blocks are smaller than buckets, so that gains nothing.
    config.optimize_ddp = False
    logger = logging.getLogger("torch._dynamo.convert_frame")
    for handler in [handler for handler in logger.handlers if isinstance(handler, _LimitReached)]:
        logger.removeHandler(handler)
    logger.addHandler(_LimitReached(log))
    for block in blocks:
        block.compile()


class _LimitReached(logging.Handler):
    """Logs once that the compiler has reached its limit."""

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._log, self._reported = log, False

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if self._reported or "recompile_limit" not in message:
            return
        self._reported = True
        lines = [line.strip() for line in message.splitlines()]
        reason = "; ".join(line for line in lines if line.startswith(("function:", "last reason:")))
        self._log(
            f"warning: the compiler made {_VARIANTS} versions per block and makes no more: some blocks run uncompiled, "
            f"and training is slower ({reason}). Use fewer sequence lengths (sequence_schedule), or set "
            "compute.compile: false"
        )
