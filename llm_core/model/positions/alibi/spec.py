"""Attention with linear biases (Press et al., 2022): its settings."""

from typing import Any, ClassVar, Literal

from llm_core.experiment.layers import PositionSpec
from llm_core.registry import load_object


class Alibi(PositionSpec):
    """Scores decrease linearly with the distance between query and key."""

    kind: Literal["alibi"] = "alibi"
    biases: ClassVar[bool] = True

    def module(self, n_heads: int, channels: int) -> Any:
        """See ``PositionSpec``."""
        return load_object("llm_core.model.positions.alibi.module:Alibi")(self, n_heads, channels)
