"""Gated feed-forwards (Shazeer, 2020): their settings and costs."""

from typing import Any, Literal

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import FeedForwardSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only


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

    def module(self, d_model: int, bias: bool) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.gated.module:SwiGLU")(d_model, self.d_ff, bias)


class GeGLU(_Gated):
    """The gate is GELU's tanh form, as in Gemma."""

    kind: Literal["geglu"] = "geglu"

    def module(self, d_model: int, bias: bool) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.gated.module:GeGLU")(d_model, self.d_ff, bias)
