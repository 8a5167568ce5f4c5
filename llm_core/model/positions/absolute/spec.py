"""Positions that are added to the embedding: their settings."""

from typing import Any, Literal

from llm_core.experiment.layers import AbsolutePositionSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only


class Sinusoidal(AbsolutePositionSpec):
    """Sines and cosines of geometric wavelengths (Vaswani et al., 2017)."""

    kind: Literal["sinusoidal"] = "sinusoidal"

    def module(self, d_model: int, size: float) -> Any:
        """See ``AbsolutePositionSpec``."""
        return load_object("llm_core.model.positions.absolute.module:Sinusoidal")(self, d_model, size)


class Learned(AbsolutePositionSpec):
    """One vector for each position (Radford et al., 2018)."""

    kind: Literal["learned"] = "learned"

    max_positions: Width
    """The number of positions."""

    def longest(self) -> int:
        """See ``AbsolutePositionSpec``."""
        return self.max_positions

    def module(self, d_model: int, size: float) -> Any:
        """See ``AbsolutePositionSpec``."""
        return load_object("llm_core.model.positions.absolute.module:Learned")(self, d_model, size)

    @runtime_only("a formula, held to the module by a test")
    def parameters(self, d_model: int) -> int:
        """See ``AbsolutePositionSpec``."""
        return self.max_positions * d_model
