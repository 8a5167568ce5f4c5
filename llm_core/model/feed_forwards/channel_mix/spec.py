"""Channel mixing of RWKV, feed-forwards with token shift: their settings and costs."""

from typing import TYPE_CHECKING, Any, Literal

from llm_core.experiment.component import with_width
from llm_core.experiment.costs import Cost
from llm_core.experiment.layers import FeedForwardSpec, LayerSpec, Width
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only

if TYPE_CHECKING:
    from llm_core.experiment.model import ModelSpec


class Rwkv7ChannelMix(FeedForwardSpec):
    """max(0, x)² of a mixture of each token and the previous one (Peng et al., 2025). It never has biases."""

    kind: Literal["rwkv7_channel_mix"] = "rwkv7_channel_mix"
    looks_back = True

    d_ff: Width = with_width()
    """Hidden channels; published models have 4 · d_model."""

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.channel_mix.module:Rwkv7ChannelMix")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """See ``FeedForwardSpec``."""
        del layer, length
        d, f = model.d_model, self.d_ff
        # Saved in addition to ReLU²: the difference between each token and the previous one.
        return Cost(
            matmul_parameters=2 * d * f,
            other_parameters=d,
            state=d,
            saved=d + 2 * f,
            saved_fp32=d,
            matmul_outputs=f + d,
        )


class Rwkv4ChannelMix(FeedForwardSpec):
    """The same, multiplied by a gate with its own token shift (Peng et al., 2023). It never has biases."""

    kind: Literal["rwkv4_channel_mix"] = "rwkv4_channel_mix"
    looks_back = True

    d_ff: Width = with_width()
    """Hidden channels; published models have 4 · d_model."""

    def module(self, model: "ModelSpec", layer: LayerSpec) -> Any:
        """See ``FeedForwardSpec``."""
        return load_object("llm_core.model.feed_forwards.channel_mix.module:Rwkv4ChannelMix")(self, model, layer)

    @runtime_only("a formula, held to the module by a test")
    def cost(self, model: "ModelSpec", layer: LayerSpec, length: int) -> Cost:
        """See ``FeedForwardSpec``."""
        del layer, length
        d, f = model.d_model, self.d_ff
        return Cost(
            matmul_parameters=2 * d * f + d * d,
            other_parameters=2 * d,
            state=d,
            saved=4 * d + 2 * f,
            saved_fp32=d,
            matmul_outputs=f + 2 * d,
        )
