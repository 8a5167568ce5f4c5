"""Gated short convolution, the linear input-varying operator of LFM2 (Liquid AI, 2025): its settings and costs."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class ShortConvolution(MixerSpec):
    """A convolution between two gates. Its input and the gates are projections of the mixer's input."""

    kind: Literal["liv"] = "liv"

    kernel: Annotated[int, Field(ge=2)] = 3
    """Tokens that a channel sees, including the current one."""

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.liv.module:ShortConvolution")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """The few FLOPs of the convolution are not counted, like those of norms."""
        del layer, length
        d = model.d_model
        return Cost(
            matmul_parameters=4 * d * d,
            other_parameters=d * self.kernel + (model.bias and 5 * d),
            state=d * (self.kernel - 1),
            # Its input, the three projections, the convolution's input and result, and the product.
            saved=7 * d,
            matmul_outputs=4 * d,
        )
