"""Feed-forwards of two matrices with a function between them: their settings and costs."""

from typing import TYPE_CHECKING, Any, Literal

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import FeedForwardSpec, LayerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class _Plain(FeedForwardSpec):
    d_ff: Width
    """Hidden channels."""

    @runtime_only("a formula, held to the module by a test")
    def cost(self, d_model: int, bias: bool) -> Cost:
        """See ``FeedForwardSpec``."""
        d, f = d_model, self.d_ff
        return Cost(matrices=2 * d * f, vectors=bias and f + d, kept=d + 2 * f, products=f + d)


class GELU(_Plain):
    """x · Φ(x) (Hendrycks and Gimpel, 2016)."""

    kind: Literal["gelu"] = "gelu"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        del layer
        return load_object("llm_core.model.feed_forwards.plain.module:GELU")(model.d_model, self.d_ff, model.bias)


class GELUTanh(_Plain):
    """GELU by its tanh approximation, as in GPT-2."""

    kind: Literal["gelu_tanh"] = "gelu_tanh"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        del layer
        return load_object("llm_core.model.feed_forwards.plain.module:GELUTanh")(model.d_model, self.d_ff, model.bias)


class ReLU(_Plain):
    """max(0, x)."""

    kind: Literal["relu"] = "relu"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        del layer
        return load_object("llm_core.model.feed_forwards.plain.module:ReLU")(model.d_model, self.d_ff, model.bias)


class ReLU2(_Plain):
    """max(0, x)² (So et al., 2021, Primer)."""

    kind: Literal["relu2"] = "relu2"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        del layer
        return load_object("llm_core.model.feed_forwards.plain.module:ReLU2")(model.d_model, self.d_ff, model.bias)
