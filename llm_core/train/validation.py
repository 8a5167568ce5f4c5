"""The loss on held-out text."""

import numpy as np
import torch
from torch import Tensor, nn

from llm_core.tokens.loader import IGNORED, windows
from llm_core.tokens.reader import ShardReader
from llm_core.train.distribution import World
from llm_core.train.precision import autocast
from llm_core.train.spec import TrainerSpec


def validation_windows(reader: ShardReader, sequence_length: int, tokens: int) -> np.ndarray:
    """Where the targets of the validation windows start.

    There are ``tokens`` worth of windows, or all there are, spread evenly over the split.
    """
    there = reader.tokens // sequence_length
    count = min(max(1, tokens // sequence_length), there)
    return np.arange(count, dtype=np.int64) * there // count * sequence_length


@torch.no_grad()
def validation_loss(model: nn.Module, reader: ShardReader, spec: TrainerSpec, world: World) -> Tensor:
    """Mean cross-entropy over the validation windows, in nats per token; the same on every rank.

    A 0-d tensor on the device, so that nobody has to wait for it.
    """
    length = spec.training.sequence_length
    starts = validation_windows(reader, length, spec.training.validation_tokens)
    total = torch.zeros((), dtype=torch.float64, device=world.device)
    model.eval()
    for first in range(0, len(starts), spec.micro_batch * world.size):
        mine = starts[first : first + spec.micro_batch * world.size][world.rank :: world.size]
        # Always as many rows: FSDP2 gathers parameters in every forward pass, so a rank without windows takes part; and
        # a compiler that saw other shapes might compile the next training step for any shape, with other rounding.
        rows = np.resize(mine if len(mine) else starts[:1], spec.micro_batch)
        inputs_BT, targets_BT, ids_BT = (torch.from_numpy(part) for part in windows(reader, rows, length))
        targets_BT = torch.where(torch.arange(len(rows))[:, None] < len(mine), targets_BT, IGNORED)
        batch = [part.to(world.device, non_blocking=True) for part in (inputs_BT, targets_BT, ids_BT)]
        with autocast(spec.training.precision, world.device):
            total += model(*batch).cross_entropy
    model.train()
    return world.total(total) / (len(starts) * length)
