"""Several linear maps of one input as one product."""

from collections.abc import Sequence

from torch import nn


class FusedLinear(nn.Linear):
    """As ``nn.Linear``, with the maps one below the other: ``parts`` are their numbers of outputs.

    It only says what belongs together: an optimiser that looks at matrices (Muon) takes every part for itself.
    """

    def __init__(self, inputs: int, parts: Sequence[int], bias: bool) -> None:
        super().__init__(inputs, sum(parts), bias=bias)
        self.parts = tuple(parts)
