"""What every position encoding can be asked for."""

import torch
from torch import Tensor, nn

from llm_core.experiment.layers import PositionSpec

Tables = tuple[Tensor, Tensor]


class Position(nn.Module):
    """How attention of one layer knows where tokens stand; this one knows nothing. It has no weights.

    A subclass rotates queries and keys (``tables`` and ``rotate``), or adds a bias to the scores (``slopes``).
    """

    key: str | None = None
    """Layers with equal keys share the tables of a forward pass."""
    score_scale: float = 1.0
    """What scores are multiplied by beside 1 / sqrt(head_dim)."""

    def __init__(self, _spec: PositionSpec, n_heads: int, channels: int) -> None:
        super().__init__()
        self.n_heads, self.channels = n_heads, channels

    def slopes(self, device: torch.device) -> Tensor | None:  # noqa: ARG002
        """What a key loses in score for every token of distance, for each head: (H,) in fp32."""
        return None

    def tables(self, start: int, length: int, device: torch.device) -> Tables | None:  # noqa: ARG002
        """What ``rotate`` needs for the positions ``start`` … ``start + length - 1``; made once a forward pass."""
        return None

    def rotate(self, x_BHTC: Tensor, tables: Tables | None) -> Tensor:  # noqa: ARG002
        """Queries or keys, with their positions in them."""
        return x_BHTC
