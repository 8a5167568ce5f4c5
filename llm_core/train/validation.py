"""The validation loss: on held-out text, per token and per byte."""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from llm_core.experiment.training import DPOSpec, TrainingSpec
from llm_core.tokens.loader import Batch, masked, windows
from llm_core.tokens.pairs import PairRows
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.reference import Reference
from llm_core.tokens.target_mask import TargetMask, target_mask
from llm_core.train.distribution import World
from llm_core.train.precision import autocast
from llm_core.train.preference_loss import pair_losses
from llm_core.train.spec import TrainerSpec


def validation_windows(reader: ShardReader, sequence_length: int, tokens: int) -> np.ndarray:
    """The positions of the first targets of the validation windows, (windows,).

    The windows have about ``tokens`` targets, or all that there are, and are spread evenly over the split.
    """
    there = reader.tokens // sequence_length
    count = min(max(1, tokens // sequence_length), there)
    return np.arange(count, dtype=np.int64) * there // count * sequence_length


GRID = 2.0**20
"""Nats of a window are multiples of 1 / ``GRID``. So their sums in fp64 are exact in every order, and readers of the
windows get the very loss of the run."""


def targets_of(mask: TargetMask | None, starts: np.ndarray, length: int) -> np.ndarray:
    """The number of targets of each window, (windows,)."""
    if mask is None:
        return np.full(len(starts), length, dtype=np.int64)
    counts: np.ndarray = mask.spans(starts, np.full(len(starts), length)).reshape(-1, length).sum(axis=1)
    return counts


def windows_of(reader: ShardReader, training: TrainingSpec) -> tuple[np.ndarray, int, np.ndarray]:
    """The windows of a validation: where they start, their length, and their targets. Of preferences, a window is a
    pair of answers with its loss, told by the first token of the chosen one."""
    length, tokens = training.sequence_length, training.validation_tokens
    if training.dpo is None:
        starts = validation_windows(reader, length, tokens)
        return starts, length, targets_of(target_mask(reader), starts, length)
    pairs = PairRows(reader, length)
    starts = pairs.pieces(pairs.spread(tokens)).starts[::2]
    return starts, 1, np.ones(len(starts), dtype=np.int64)


class ValidationLoss(NamedTuple):
    """Tensors on the device, so the host does not wait for them; equal on all ranks."""

    loss: Tensor
    """The mean cross-entropy, in nats per target. Of conversations, only answers are targets. Of preferences, the mean
    loss of a pair."""
    bits_per_byte: Tensor | None
    """Bits per byte of the text, as in the evals: bits and bytes are of the same tokens, without special tokens, which
    are not text. None when the lengths of tokens are unknown."""
    windows_3W: Tensor  # noqa: N815
    """Of each window: the nats of all targets; the nats of those that are text; and their bytes. (The last two are 0
    when the lengths of tokens are unknown.)"""


@torch.no_grad()
def measure(
    model: nn.Module, reader: ShardReader, spec: TrainerSpec, world: World, bytes_V: Tensor | None = None
) -> ValidationLoss:
    """The loss over the validation windows. ``bytes_V``: bytes of each token, on the device. Collective."""
    if spec.training.dpo is not None:
        return _measure_pairs(model, reader, spec, world, spec.training.dpo)
    length = spec.training.sequence_length
    starts, mask = validation_windows(reader, length, spec.training.validation_tokens), target_mask(reader)
    windows_3W = torch.zeros(3, len(starts), dtype=world.sum_dtype, device=world.device)
    model.eval()
    for first in range(0, len(starts), spec.micro_batch * world.size):
        places = slice(first + world.rank, first + spec.micro_batch * world.size, world.size)
        mine = starts[places]
        # Always the same number of rows. FSDP2 gathers parameters in every forward pass, so ranks without windows take
        # part. After another shape, the compiler might compile training steps for dynamic shapes, with other rounding.
        rows = np.resize(mine if len(mine) else starts[:1], spec.micro_batch)
        batch = [torch.from_numpy(part).to(world.device) for part in _windows(reader, mask, rows, length)]
        with autocast(spec.training.precision, world.device):
            loss_BT = model(*batch, each=True).cross_entropy
        found_3B = torch.zeros(3, len(rows), dtype=world.sum_dtype, device=world.device)
        found_3B[0] = loss_BT.sum(dim=1, dtype=world.sum_dtype)
        if bytes_V is not None:
            bytes_BT = torch.where(batch[1] >= 0, bytes_V[batch[1].clamp(min=0)], 0)
            found_3B[1] = torch.where(bytes_BT > 0, loss_BT, 0).sum(dim=1, dtype=world.sum_dtype)
            found_3B[2] = bytes_BT.sum(dim=1)
        windows_3W[:, places] = found_3B[:, : len(mine)]
    model.train()
    windows_3W[:2] = torch.round(windows_3W[:2] * GRID) / GRID
    windows_3W = world.total(windows_3W)
    nats, text_nats, size = windows_3W.sum(dim=1)
    loss = nats / int(targets_of(mask, starts, length).sum())
    bits_per_byte = None if bytes_V is None else text_nats / math.log(2) / size
    return ValidationLoss(loss, bits_per_byte, windows_3W)


@torch.no_grad()
def _measure_pairs(
    model: nn.Module, reader: ShardReader, spec: TrainerSpec, world: World, dpo: DPOSpec
) -> ValidationLoss:
    pairs, known = PairRows(reader, spec.training.sequence_length), Reference(reader)
    chosen = pairs.spread(spec.training.validation_tokens)
    ends = np.cumsum(pairs.pieces(chosen).counts // 2)
    windows_3W = torch.zeros(3, int(ends[-1]), dtype=world.sum_dtype, device=world.device)
    model.eval()
    for first in range(0, len(chosen), spec.micro_batch * world.size):
        places = np.arange(first + world.rank, min(first + spec.micro_batch * world.size, len(chosen)), world.size)
        rows = np.resize(chosen[places] if len(places) else chosen[:1], spec.micro_batch)  # as in ``measure``
        batch = [torch.from_numpy(part).to(world.device) for part in pairs.batch(rows)]
        reference_BD = torch.from_numpy(known.of(pairs.pieces(rows))).to(world.device, world.sum_dtype)
        with autocast(spec.training.precision, world.device):
            nats_BT = model(*batch, each=True).cross_entropy
        loss_BP = pair_losses(nats_BT, batch[2], reference_BD, dpo).loss_BP
        for loss_P, end, before in zip(loss_BP, ends[places], np.append(0, ends)[places], strict=False):
            windows_3W[0, before:end] = loss_P[: end - before]
    model.train()
    windows_3W = world.total(torch.round(windows_3W * GRID) / GRID)
    return ValidationLoss(windows_3W[0].mean(), None, windows_3W)


def _windows(reader: ShardReader, mask: TargetMask | None, starts: np.ndarray, length: int) -> Batch:
    batch = windows(reader, starts, length)
    if mask is None:
        return batch
    # What a conversation begins with is predicted from the end of text, as in training, and not from the token before.
    lengths = np.full(len(starts), length, dtype=np.int64)
    inputs_BT = batch.inputs_BT.copy()
    inputs_BT[reader.borders(starts, lengths)] = reader.eot
    inputs_BT[reader.begins_document(starts), 0] = reader.eot
    return masked(batch._replace(inputs_BT=inputs_BT), mask.spans(starts, lengths))
