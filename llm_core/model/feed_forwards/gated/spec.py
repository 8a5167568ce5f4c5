"""Gated feed-forwards (Shazeer, 2020): their settings and costs."""

from typing import TYPE_CHECKING, Any, Literal

from llm_core.experiment.component import with_width
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import FeedForwardSpec, LayerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class GatedSpec(FeedForwardSpec):
    """A gated feed-forward; the kinds differ in the function of the gate."""

    d_ff: Width = with_width()
    """Hidden channels."""

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """See ``FeedForwardSpec``."""
        del layer, length
        d, f, bias = model.d_model, self.d_ff, model.bias
        # Saved: its input, gate, up, f(gate) and the product.
        return Cost(
            matmul_parameters=3 * d * f, other_parameters=bias and 2 * f + d, saved=d + 4 * f, matmul_outputs=2 * f + d
        )


class SwiGLU(GatedSpec):
    """The gate is silu."""

    kind: Literal["swiglu"] = "swiglu"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.gated.module:SwiGLU")(self, model, layer)


class GeGLU(GatedSpec):
    """The gate is GELU's tanh form, as in Gemma."""

    kind: Literal["geglu"] = "geglu"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.gated.module:GeGLU")(self, model, layer)
