"""The interface of position encodings."""

import torch
from torch import Tensor, nn

from llm_core.experiment.layers import PositionSpec

Tables = tuple[Tensor, Tensor]


class Position(nn.Module):
    """The position encoding of one layer. This base class encodes nothing. It has no weights.

    A subclass rotates queries and keys (``tables`` and ``rotate``), or adds a bias to the scores (``slopes``).
    """

    key: str | None = None
    """Layers with equal keys share the tables of a forward pass."""
    score_scale: float = 1.0
    """An additional factor of the scores, beside 1 / sqrt(head_dim)."""

    def __init__(self, _spec: PositionSpec, n_heads: int, channels: int) -> None:
        super().__init__()
        self.n_heads, self.channels = n_heads, channels

    def slopes(self, device: torch.device) -> Tensor | None:  # noqa: ARG002
        """The decrease of a score per token of distance for each head, (H,) in fp32; None: no decrease."""
        return None

    def tables(self, start: int | Tensor, length: int, device: torch.device) -> Tables | None:  # noqa: ARG002
        """The tables of ``rotate`` for the positions ``start`` … ``start + length - 1``; built once per forward pass.

        ``start`` is (B, 1, 1) if rows differ, and so the tables are (B, 1, T, …).
        """
        return None

    def rotate(self, x_BHTC: Tensor, tables: Tables | None) -> Tensor:  # noqa: ARG002
        """Queries or keys with their positions encoded, (B, H, T, C)."""
        return x_BHTC
