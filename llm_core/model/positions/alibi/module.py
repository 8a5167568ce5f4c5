"""Attention with linear biases (Press et al., 2022)."""

import math

import torch
from torch import Tensor

from llm_core.experiment.layers import PositionSpec
from llm_core.model.positions.position import Position


def alibi_slopes(n_heads: int, device: torch.device | str = "cpu") -> Tensor:
    """The slope of each head, (H,) in fp32: 2^(-8/n), 2^(-16/n), …. If n is not a power of two, these are the slopes
    for the power of two below n, followed by every second slope for the power of two above.

    Computed on the ``device``: if the host sent a list in every pass, it would wait.
    """
    lower = 2 ** math.floor(math.log2(n_heads))
    coarse = torch.arange(2, 2 * lower + 1, 2, device=device)
    finer = torch.arange(n_heads - lower, device=device) * 2 + 1
    return torch.exp2(torch.cat((coarse, finer)) * (-4 / lower))


class Alibi(Position):
    """Subtracts ``slope`` from a score for every token of distance between query and key."""

    def __init__(self, spec: PositionSpec, n_heads: int, channels: int) -> None:
        super().__init__(spec, n_heads, channels)
        self.key = f"alibi {self.n_heads}"

    def slopes(self, device: torch.device) -> Tensor:
        """(H,) in fp32."""
        return alibi_slopes(self.n_heads, device)
