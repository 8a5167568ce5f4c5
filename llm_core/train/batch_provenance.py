"""The worst sequences of a batch, and the documents in them."""

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
"""The number of sequences per batch whose documents are recorded."""


def documents_of(loader: Loader, step: int, sequences: Iterable[int]) -> list[dict[str, Any]]:
    """The pieces of text in ``sequences`` of the global batch of ``step`` (from 0), in the order of ``sequences``.

    Of each piece: ``start``, the position of its first target in the split's stream; ``tokens``, the number of its
    targets; ``documents``, its first and last document, counted from 0 within ``source``.
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
    """The command that prints the documents of ``step`` (from 1); empty for a run outside a store."""
    return "" if spec.identity is None else f"; `pedigree why {spec.identity[:12]} {step}` names its documents"


def describe_pieces(pieces: Iterable[dict[str, Any]]) -> str:
    """``documents_of`` as text."""
    return "; ".join(
        f"sequence {piece['sequence']}: {piece['source']}, tokens {piece['start']} to "
        f"{piece['start'] + piece['tokens']} (its documents {piece['documents'][0]} to {piece['documents'][1]})"
        for piece in pieces
    )


@torch.no_grad()
def sequence_losses(
    model: nn.Module, loader: Loader, step: int, precision: str, world: World
) -> list[tuple[int, float]]:
    """(sequence, mean loss in nats per token) of the global batch of ``step`` (from 0), highest loss first. Collective.

    The losses are those of the current weights. A loss that is not finite counts as the highest.
    """
    batch = Batch(*loader.batch(step, world.rank, world.size))
    inputs_BT, targets_BT, ids_BT = (torch.from_numpy(np.ascontiguousarray(part)).to(world.device) for part in batch)
    model.eval()
    losses = []
    for row in range(len(inputs_BT)):
        one = slice(row, row + 1)
        with autocast(precision, world.device):
            summed = model(inputs_BT[one], targets_BT[one], ids_BT[one]).cross_entropy
        losses.append(summed.to(world.sum_dtype) / (targets_BT[one] >= 0).sum())
    model.train()
    mine_B = torch.stack(losses)
    all_RB = torch.zeros(world.size, len(mine_B), dtype=world.sum_dtype, device=world.device)
    all_RB[world.rank] = mine_B
    # Rank r has the sequences r, r + R, …. Every rank has its own row, so a NaN spreads to no other sequence.
    found = world.total(all_RB).T.flatten().tolist()
    return sorted(enumerate(found), key=lambda item: item[1] if np.isfinite(item[1]) else np.inf, reverse=True)
