"""Several linear maps of one input as one matrix product."""

from collections.abc import Sequence

from torch import nn


class Fused:
    """A module whose parameters contain several maps. ``fused``: parameter → the number of outputs of each map.

    An optimiser of matrices (Muon) treats every map as a matrix of its own.
    """

    fused: dict[str, tuple[int, ...]]


class FusedLinear(nn.Linear, Fused):
    """``nn.Linear`` with the maps stacked row-wise; ``parts``: the number of outputs of each."""

    def __init__(self, inputs: int, parts: Sequence[int], bias: bool) -> None:
        super().__init__(inputs, sum(parts), bias=bias)
        self.parts = tuple(parts)
        self.fused = {"weight": self.parts}
