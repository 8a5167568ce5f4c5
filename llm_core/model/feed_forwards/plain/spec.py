"""Feed-forwards of two matrices with a function between them: their settings and costs."""

from typing import TYPE_CHECKING, Any, Literal

from llm_core.experiment.component import with_width
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import FeedForwardSpec, LayerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class PlainSpec(FeedForwardSpec):
    """A feed-forward of two matrices; the kinds differ in the function between them."""

    d_ff: Width = with_width()
    """Hidden channels."""

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """See ``FeedForwardSpec``."""
        del layer, length
        d, f, bias = model.d_model, self.d_ff, model.bias
        return Cost(matmul_parameters=2 * d * f, other_parameters=bias and f + d, saved=d + 2 * f, matmul_outputs=f + d)


class GELU(PlainSpec):
    """x · Φ(x) (Hendrycks and Gimpel, 2016)."""

    kind: Literal["gelu"] = "gelu"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.plain.module:GELU")(self, model, layer)


class GELUTanh(PlainSpec):
    """GELU by its tanh approximation, as in GPT-2."""

    kind: Literal["gelu_tanh"] = "gelu_tanh"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.plain.module:GELUTanh")(self, model, layer)


class ReLU(PlainSpec):
    """max(0, x)."""

    kind: Literal["relu"] = "relu"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.plain.module:ReLU")(self, model, layer)


class ReLU2(PlainSpec):
    """max(0, x)² (So et al., 2021, Primer)."""

    kind: Literal["relu2"] = "relu2"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.plain.module:ReLU2")(self, model, layer)
