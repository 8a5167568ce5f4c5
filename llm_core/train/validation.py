"""The validation loss: on held-out text, per token and per byte."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from llm_core.tokens.loader import IGNORED, windows
from llm_core.tokens.reader import ShardReader
from llm_core.train.distribution import World
from llm_core.train.precision import autocast
from llm_core.train.spec import TrainerSpec


def validation_windows(reader: ShardReader, sequence_length: int, tokens: int) -> np.ndarray:
    """The positions of the first targets of the validation windows, (windows,).

    The windows have about ``tokens`` targets, or all that there are, and are spread evenly over the split.
    """
    there = reader.tokens // sequence_length
    count = min(max(1, tokens // sequence_length), there)
    return np.arange(count, dtype=np.int64) * there // count * sequence_length


class ValidationLoss(NamedTuple):
    """0-d tensors on the device, so the host does not wait for them; equal on all ranks."""

    loss: Tensor
    """The mean cross-entropy, in nats per token."""
    bits_per_byte: Tensor | None
    """Bits per byte of the text, as in the evals: bits and bytes are of the same tokens, without special tokens, which
    are not text. None when the lengths of tokens are unknown."""


@torch.no_grad()
def measure(
    model: nn.Module, reader: ShardReader, spec: TrainerSpec, world: World, bytes_V: Tensor | None = None
) -> ValidationLoss:
    """The loss over the validation windows. ``bytes_V``: bytes of each token, on the device. Collective."""
    length = spec.training.sequence_length
    starts = validation_windows(reader, length, spec.training.validation_tokens)
    total, nats, size = (torch.zeros((), dtype=world.sum_dtype, device=world.device) for _ in range(3))
    model.eval()
    for first in range(0, len(starts), spec.micro_batch * world.size):
        mine = starts[first : first + spec.micro_batch * world.size][world.rank :: world.size]
        # Always the same number of rows. FSDP2 gathers parameters in every forward pass, so ranks without windows take
        # part. After another shape, the compiler might compile training steps for dynamic shapes, with other rounding.
        rows = np.resize(mine if len(mine) else starts[:1], spec.micro_batch)
        inputs_BT, targets_BT, ids_BT = (torch.from_numpy(part) for part in windows(reader, rows, length))
        targets_BT = torch.where(torch.arange(len(rows))[:, None] < len(mine), targets_BT, IGNORED)
        batch = [part.to(world.device) for part in (inputs_BT, targets_BT, ids_BT)]
        with autocast(spec.training.precision, world.device):
            loss_BT = model(*batch, each=True).cross_entropy
        counted_BT = batch[1] != IGNORED
        total += torch.where(counted_BT, loss_BT, 0).sum()
        if bytes_V is not None:
            bytes_BT = torch.where(counted_BT, bytes_V[batch[1].clamp(min=0)], 0)
            nats += torch.where(bytes_BT > 0, loss_BT, 0).sum()
            size += bytes_BT.sum()
    model.train()
    loss = world.total(total) / (len(starts) * length)
    if bytes_V is None:
        return ValidationLoss(loss, None)
    return ValidationLoss(loss, world.total(nats) / math.log(2) / world.total(size))
