"""No position encoding in attention (Kazemnejad et al., 2023)."""

from typing import Any, Literal

from llm_core.experiment.layers import PositionSpec
from llm_core.registry import load_object


class Nope(PositionSpec):
    """Only the causal mask orders the tokens."""

    kind: Literal["nope"] = "nope"

    def module(self, n_heads: int, channels: int) -> Any:
        """See ``PositionSpec``."""
        return load_object("llm_core.model.positions.nope.module:Nope")(self, n_heads, channels)
