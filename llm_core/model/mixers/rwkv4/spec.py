"""The time mixing of RWKV-4 (Peng et al., 2023) and its costs."""

from typing import TYPE_CHECKING, Any, Literal

from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import LayerSpec, MixerSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class Rwkv4(MixerSpec):
    """Each channel is a mean of previous values, with weights that decay with the distance. The projections never have
    biases."""

    kind: Literal["rwkv4"] = "rwkv4"

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``MixerSpec``."""
        return load_object("llm_core.model.mixers.rwkv4.module:Rwkv4")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """The FLOPs of the means are not counted, like those of norms."""
        del layer
        d = model.d_model
        return Cost(
            matmul_parameters=4 * d * d,
            other_parameters=5 * d,
            state=d,
            state_fp32=3 * d,
            # The inputs of the products, and the gate with its input and result.
            saved=7 * d,
            # The inputs and results of the means; two factors and two sums of every doubling.
            saved_fp32=5 * d + 4 * d * length.bit_length(),
            matmul_outputs=4 * d,
        )
