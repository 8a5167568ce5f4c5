"""Several linear maps of one input as one product."""

from collections.abc import Sequence

from torch import nn


class Fused:
    """Of a module: which of its parameters are several maps side by side, and the numbers of outputs of each.

    It only says what belongs together: an optimiser that looks at matrices (Muon) takes every map for itself.
    """

    fused: dict[str, tuple[int, ...]]


class FusedLinear(nn.Linear, Fused):
    """As ``nn.Linear``, with the maps one below the other; ``parts`` are their numbers of outputs."""

    def __init__(self, inputs: int, parts: Sequence[int], bias: bool) -> None:
        super().__init__(inputs, sum(parts), bias=bias)
        self.parts = tuple(parts)
        self.fused = {"weight": self.parts}
