"""Kinds of normalisation: their settings and costs."""

from typing import Any, Literal

from llm_core.experiment.base import later
from llm_core.experiment.layers import NormSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only


class RMSNorm(NormSpec):
    """Scale to a root mean square of 1, times a learned weight (Zhang and Sennrich, 2019). It has no bias."""

    kind: Literal["rmsnorm"] = "rmsnorm"
    gain: bool = later(default=True, absent=True)
    """Whether there is a learned weight."""

    def module(self, dim: int, bias: bool) -> Any:
        """See ``NormSpec``."""
        return load_object("llm_core.model.norms.module:RMSNorm")(self, dim, bias)

    @runtime_only("a formula, held to the module by a test")
    def parameters(self, dim: int, bias: bool) -> int:
        """See ``NormSpec``."""
        del bias
        return dim if self.gain else 0


class LayerNorm(NormSpec):
    """Shift and scale to mean 0 and variance 1, times a learned weight, plus a bias (Ba et al., 2016)."""

    kind: Literal["layernorm"] = "layernorm"
    bias: bool | None = later(default=None, absent=None)
    """Whether it has a bias; null: if the model's ``bias`` is true."""

    def module(self, dim: int, bias: bool) -> Any:
        """See ``NormSpec``."""
        return load_object("llm_core.model.norms.module:LayerNorm")(self, dim, bias)

    @runtime_only("a formula, held to the module by a test")
    def parameters(self, dim: int, bias: bool) -> int:
        """See ``NormSpec``."""
        return 2 * dim if self.has_bias(bias) else dim

    def has_bias(self, bias: bool) -> bool:
        """Whether it has a bias in a model with or without ``bias``."""
        return bias if self.bias is None else self.bias
