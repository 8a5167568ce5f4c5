"""Gated feed-forwards (Shazeer, 2020): their settings and costs."""

from typing import TYPE_CHECKING, Any, Literal

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import FeedForwardSpec, LayerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class _Gated(FeedForwardSpec):
    d_ff: Width
    """Hidden channels."""

    @runtime_only("a formula, held to the module by a test")
    def cost(self, d_model: int, bias: bool) -> Cost:
        """See ``FeedForwardSpec``."""
        d, f = d_model, self.d_ff
        # Its input, gate, up, f(gate) and the product.
        return Cost(matrices=3 * d * f, vectors=bias and 2 * f + d, kept=d + 4 * f, products=2 * f + d)


class SwiGLU(_Gated):
    """The gate is silu."""

    kind: Literal["swiglu"] = "swiglu"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        del layer
        return load_object("llm_core.model.feed_forwards.gated.module:SwiGLU")(model.d_model, self.d_ff, model.bias)


class GeGLU(_Gated):
    """The gate is GELU's tanh form, as in Gemma."""

    kind: Literal["geglu"] = "geglu"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        del layer
        return load_object("llm_core.model.feed_forwards.gated.module:GeGLU")(model.d_model, self.d_ff, model.bias)
