"""The data of a forward pass beside the residual stream. It is built once and shared by all layers."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from llm_core.model.masks import Mask
from llm_core.model.positions.position import Tables
from llm_core.model.state import DecodingState


@dataclass
class Context:
    """One forward pass over T new tokens of B rows, after ``start`` tokens that a decoding state has read.

    ``documents_BS``: the document of every token, including those of the state (S = start + T); None if each row is one
    document. ``masks`` and ``tables`` (of positions): layers with equal keys share an entry.
    """

    start: int
    length: int
    documents_BS: Tensor | None  # noqa: N815
    masks: dict[str, Mask] = field(default_factory=dict)
    tables: dict[str | None, Tables | None] = field(default_factory=dict)
    state: DecodingState | None = None
    training: bool = False
    embedding_BTD: Tensor | None = None  # noqa: N815
    """What the first block reads, for ``stream_scales``."""

    @property
    def documents_BT(self) -> Tensor | None:  # noqa: N802
        """The documents of the new tokens only."""
        return None if self.documents_BS is None else self.documents_BS[:, self.start :]

    def layer_state(self, index: int) -> Any:
        """The decoding state of the mixer of layer ``index``; None without one."""
        return None if self.state is None else self.state.layers[index]

    def feed_forward_state(self, index: int) -> Any:
        """The decoding state of its feed-forward, if that looks back."""
        return None if self.state is None else self.state.feed_forwards[index]


def positions_in_documents(documents_BS: Tensor) -> Tensor:
    """(B, S): for each token, the number of earlier tokens of its document in the row."""
    S = documents_BS.shape[1]
    places_S = torch.arange(S, device=documents_BS.device)
    begins_BS = torch.ones_like(documents_BS, dtype=torch.bool)
    begins_BS[:, 1:] = documents_BS[:, 1:] != documents_BS[:, :-1]
    starts_BS = torch.where(begins_BS, places_S, 0).cummax(dim=1).values
    return places_S - starts_BS
