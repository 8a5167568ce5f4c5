"""Rows that join and leave a running batch: a decoding state made of rows of other states."""

from collections.abc import Sequence
from copy import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llm_core.model.state import DecodingState, Part


class Rows(NamedTuple):
    """Some rows of a decoding state, by number."""

    state: DecodingState
    rows: list[int]


def gathered(kept: Sequence[Rows], max_new_tokens: int, device: torch.device | str = "cpu") -> DecodingState:
    """A state of these rows in this order, with room for ``max_new_tokens`` more tokens.

    The last tokens of all rows come into one column, so shorter rows are padded on the left, as ``generate`` pads
    prompts. No column stays that is padding in all rows. The given states stay as they are.

    A layer's state says in a method ``gathered(parts, length, max_length)`` how it takes rows along. One without the
    method has only tensors (B, …) whose size does not depend on the number of tokens; they are all gathered.
    """
    lengths = [length for state, rows in kept for length in _lengths(state, rows)]
    length = max(lengths)
    indices = [torch.tensor(rows, device=device) for _, rows in kept]
    states = [state for state, _ in kept]

    def layers(name: str) -> list[Any]:
        of_states = zip(*(getattr(state, name) for state in states), strict=True)
        return [
            _layer(
                [Part(*part) for part in zip(of_layer, indices, (state.length for state in states), strict=True)],
                length,
                length + max_new_tokens,
            )
            for of_layer in of_states
        ]

    padding_B = documents_BS = tokens_BJ = None
    if min(lengths) < length:
        padding_B = torch.tensor([length - own for own in lengths], device=device)
        documents_BS = -(torch.arange(length, device=device) < padding_B[:, None]).long()
    last_tokens = [
        state.tokens_BJ[rows] for state, rows in zip(states, indices, strict=True) if state.tokens_BJ is not None
    ]
    if last_tokens:
        tokens_BJ = torch.cat(last_tokens)
    new = DecodingState(layers("layers"), layers("feed_forwards"), documents_BS, tokens_BJ, padding_B)
    new.length = length
    return new


def _lengths(state: DecodingState, rows: list[int]) -> list[int]:
    """The number of tokens of each row, without padding."""
    if state.padding_B is None:
        return [state.length] * len(rows)
    padding = state.padding_B.tolist()
    return [state.length - padding[row] for row in rows]


def _layer(parts: list[Part], length: int, max_length: int) -> Any:
    first = parts[0].state
    if first is None:  # a layer without a state of its own
        return None
    if hasattr(first, "gathered"):
        return first.gathered(parts, length, max_length)
    new = copy(first)
    for name, value in vars(first).items():
        if isinstance(value, Tensor):
            setattr(new, name, torch.cat([getattr(part.state, name)[part.rows] for part in parts]))
    return new
