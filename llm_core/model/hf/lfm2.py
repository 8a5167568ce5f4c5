"""LFM2: gated short convolutions, and attention with QK-norm in some layers."""

from typing import Any

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import (
    Config,
    Derived,
    Fields,
    Fixed,
    Implied,
    Key,
    Part,
    PerLayer,
    Written,
    look_up,
    put,
    said,
)
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import SIZES, TIED, kv_heads
from llm_core.model.hf.llama import whole_heads
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import Depthwise, Weight, attention, gated, weight
from llm_core.model.mixers.attention.spec import Attention


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    weights = [weight("mixer_norm", "operator_norm"), weight("feed_forward_norm", "ffn_norm")]
    weights += gated(layer, ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2"))
    if isinstance(layer.mixer, Attention):
        return weights + attention(spec, layer, "self_attn", output="out_proj", norms=("q_layernorm", "k_layernorm"))
    return [
        *weights,
        weight("mixer.gates", "conv.in_proj"),
        weight("mixer.convolution", "conv.conv", form=Depthwise()),
        weight("mixer.output", "conv.out_proj"),
    ]


def _width(width: Any, config: Config) -> int:
    """The width of the feed-forward. By default, the configuration contains the width before an adjustment."""
    width = int(config.get("block_ff_dim", width))
    if not config.get("block_auto_adjust_ff_dim", True):
        return width
    width = int(2 * width / 3)
    multiplier = config.get("block_ffn_dim_multiplier", 1.0)
    if multiplier is None:
        return width
    multiple = int(config.get("block_multiple_of", 256))
    return -(-int(multiplier * width) // multiple) * multiple


def _kinds(config: Config, count: int) -> list[str]:
    attending = config.get("full_attn_idxs")
    kinds = range(count) if attending is None else attending
    return ["full_attention" if index in kinds else "conv" for index in range(count)]


class _Taps(Part):
    """The taps of the convolutions. It must follow the part that decides which layers have one."""

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        for layer in fields.layers:
            if look_up(layer, "mixer.kind") == "liv":
                put(layer, "mixer.kernel", config.get("conv_L_cache", 3))

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        config["conv_L_cache"] = said(spec, "mixer.kernel") or 3


def _limits(spec: ModelSpec) -> list[str]:
    mixers = [layer.mixer for layer in spec.layers if isinstance(layer.mixer, Attention)]
    return whole_heads(spec) if all(mixer.qk_norm for mixer in mixers) else ["mixer.qk_norm is always on"]


LFM2 = Family(
    name="lfm2",
    architecture="Lfm2ForCausalLM",
    parts=(
        *SIZES,
        kv_heads(8),
        Key("norm_eps", "norm.eps", absent=1e-5),
        TIED,
        Derived("intermediate_size", "feed_forward.d_ff", _width),
        Written("block_auto_adjust_ff_dim", False),
        Fixed("conv_bias", False),
        Implied("mixer.kind", "attention"),
        Implied("mixer.qk_norm", True),
        PerLayer("layer_types", {"full_attention": {"mixer.kind": "attention"}, "conv": {"mixer.kind": "liv"}}, _kinds),
        _Taps(),
        Rope(1_000_000.0),
    ),
    always={
        "norm.kind": "rmsnorm",
        "norm_placement": "pre",
        "feed_forward.kind": "swiglu",
        "bias": False,
    },
    outer=(weight("embedding", "model.embed_tokens"), weight("norm", "model.embedding_norm")),
    block=_block,
    limits=_limits,
)
