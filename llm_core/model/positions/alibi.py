"""Attention with linear biases (Press et al., 2022)."""

import math

import torch
from torch import Tensor

from llm_core.experiment.layers import LayerSpec
from llm_core.model.positions.position import Position


def alibi_slopes(n_heads: int) -> list[float]:
    """Slope of each head: 2^(-8/n), 2^(-16/n), …; for a number that is no power of two, every second of the next one's
    fills up what the lower power of two has."""
    lower = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * (head + 1) / lower) for head in range(lower)]
    finer = [2 ** (-8 * (head + 1) / (2 * lower)) for head in range(0, 2 * lower, 2)]
    return slopes + finer[: n_heads - lower]


class Alibi(Position):
    """A key loses ``slope`` of its score for every token of distance from the query."""

    def __init__(self, layer: LayerSpec, head_dim: int) -> None:
        super().__init__(layer, head_dim)
        self.n_heads = layer.heads[0]
        self.key = f"alibi {self.n_heads}"

    def slopes(self, device: torch.device) -> Tensor:
        """(H,) in fp32."""
        return torch.tensor(alibi_slopes(self.n_heads), device=device)
