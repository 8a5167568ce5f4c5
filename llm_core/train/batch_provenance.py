"""From a bad step to what it read: its worst sequences, and the documents in them."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from llm_core.tokens.loader import Batch, Loader
from llm_core.train.distribution import World
from llm_core.train.precision import autocast
from llm_core.train.spec import TrainerSpec

WORST = 8
"""Sequences of a batch whose documents are written down."""


def documents_of(loader: Loader, step: int, sequences: Iterable[int]) -> list[dict[str, Any]]:
    """What ``sequences`` of the global batch of ``step`` (from 0) read, a piece each, in the order of ``sequences``.

    ``start`` is where its ``tokens`` targets begin in the split's stream; ``documents`` are the first and the last
    document that they are of, counted within ``source``, from 0.
    """
    by_sequence: dict[int, list[dict[str, Any]]] = {sequence: [] for sequence in sequences}
    for piece in loader.pieces(step):
        if piece.sequence in by_sequence:
            reader = loader.readers[piece.source]
            first, last = np.searchsorted(reader.offsets, (piece.start, piece.start + piece.length - 1), side="right")
            by_sequence[piece.sequence].append(
                {
                    "sequence": piece.sequence,
                    "column": piece.column,
                    "source": reader.name,
                    "start": piece.start,
                    "tokens": piece.length,
                    "documents": [int(first) - 1, int(last) - 1],
                }
            )
    return [piece for pieces in by_sequence.values() for piece in pieces]


def why_command(spec: TrainerSpec, step: int) -> str:
    """What names the documents of ``step`` (from 1): nothing for a run that is in no store."""
    return "" if spec.identity is None else f"; `pedigree why {spec.identity[:12]} {step}` names its documents"


def described(pieces: Iterable[dict[str, Any]]) -> str:
    """Where a person finds ``documents_of``."""
    return "; ".join(
        f"sequence {piece['sequence']}: {piece['source']}, tokens {piece['start']} to "
        f"{piece['start'] + piece['tokens']} (its documents {piece['documents'][0]} to {piece['documents'][1]})"
        for piece in pieces
    )


@torch.no_grad()
def sequence_losses(
    model: nn.Module, loader: Loader, step: int, precision: str, world: World
) -> list[tuple[int, float]]:
    """(sequence, mean loss in nats per token) of the global batch of ``step``, worst first. Collective.

    Losses are those of the weights as they are now. What is not finite is worst of all.
    """
    batch = Batch(*loader.batch(step, world.rank, world.size))
    inputs_BT, targets_BT, ids_BT = (torch.from_numpy(np.ascontiguousarray(part)).to(world.device) for part in batch)
    model.eval()
    losses = []
    for row in range(len(inputs_BT)):
        one = slice(row, row + 1)
        with autocast(precision, world.device):
            summed = model(inputs_BT[one], targets_BT[one], ids_BT[one]).cross_entropy
        losses.append(summed.double() / (targets_BT[one] >= 0).sum())
    model.train()
    mine_B = torch.stack(losses)
    all_RB = torch.zeros(world.size, len(mine_B), dtype=torch.float64, device=world.device)
    all_RB[world.rank] = mine_B
    # Rank r has the sequences r, r + R, …; a sum over ranks spreads no NaN into the places of others.
    found = world.total(all_RB).T.flatten().tolist()
    return sorted(enumerate(found), key=lambda item: item[1] if np.isfinite(item[1]) else np.inf, reverse=True)
