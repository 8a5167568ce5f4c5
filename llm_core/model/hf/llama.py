"""Llama, and relatives that differ in a setting: Mistral (one window), Qwen2 (biases of queries, keys and values),
Qwen3 (QK-norm, windows per layer), SmolLM3 (layers without positions), Granite (scales)."""

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Bias, Config, Derived, Fixed, Key, PerLayer, Windows, said
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import HEAD_DIM, TIED, UNTIED, kv_heads, llama_like
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import LLAMA_MLP, LLAMA_NORMS, Weight, attention, gated, weight
from llm_core.model.mixers.attending import AttendingSpec

ALWAYS = {"mixer.kind": "attention", "norm.kind": "rmsnorm", "norm_placement": "pre", "feed_forward.kind": "swiglu"}


DENSE = (*llama_like(), Key("intermediate_size", "feed_forward.d_ff"))

OUTER = (weight("embedding", "model.embed_tokens"), weight("norm", "model.norm"))


def whole_heads(spec: ModelSpec) -> list[str]:
    """``transformers`` requires that d_model is a multiple of n_heads, whatever the width of heads."""
    heads = [layer.mixer.n_heads for layer in spec.layers if isinstance(layer.mixer, AttendingSpec)]
    uneven = [n_heads for n_heads in heads if spec.d_model % n_heads]
    return [f"d_model {spec.d_model} is no multiple of n_heads {uneven[0]}"] if uneven else []


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    norms = ("q_norm", "k_norm") if said(spec, "mixer.qk_norm") else None
    return [
        *LLAMA_NORMS,
        *attention(spec, layer, "self_attn", norms=norms),
        *gated(layer, LLAMA_MLP, bias=spec.bias),
    ]


LLAMA = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    parts=(*DENSE, kv_heads(None), UNTIED, HEAD_DIM, Bias(("attention_bias", "mlp_bias")), Rope()),
    always=ALWAYS,
    outer=OUTER,
    block=_block,
    limits=whole_heads,
)

MISTRAL = Family(
    name="mistral",
    architecture="MistralForCausalLM",
    parts=(*DENSE, kv_heads(8), UNTIED, HEAD_DIM, Windows(), Rope()),
    always=ALWAYS,
    outer=OUTER,
    block=_block,
)


def _upper_layers(config: Config, index: int) -> bool:
    return index >= int(config.get("max_window_layers", 28))


_WINDOWS = Windows(switch="use_sliding_window", default=_upper_layers)

QWEN2 = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    parts=(*DENSE, kv_heads(32), UNTIED, HEAD_DIM, _WINDOWS, Rope()),
    always={**ALWAYS, "mixer.qkv_bias": True, "bias": False},
    outer=OUTER,
    block=_block,
    limits=whole_heads,
)

QWEN3 = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    parts=(
        *(*DENSE, kv_heads(32), UNTIED, Key("head_dim", "mixer.head_dim", absent=128), Fixed("attention_bias", False)),
        *(_WINDOWS, Rope()),
    ),
    always={**ALWAYS, "mixer.qk_norm": True},
    outer=OUTER,
    block=_block,
)


def _every_fourth(config: Config, count: int) -> list[int]:
    interval = int(config.get("no_rope_layer_interval", 4))
    return [int((index + 1) % interval != 0) for index in range(count)]


NO_ROPE = PerLayer(
    "no_rope_layers", {1: {"mixer.position.kind": "rope"}, 0: {"mixer.position.kind": "nope"}}, _every_fourth
)


def _without_positions(config: Config, index: int) -> bool:
    entries = config.get("no_rope_layers") or _every_fourth(config, int(config["num_hidden_layers"]))
    return not entries[index]


SMOLLM3 = Family(
    name="smollm3",
    architecture="SmolLM3ForCausalLM",
    parts=(
        *(*DENSE, kv_heads(4), TIED, Bias(("attention_bias", "mlp_bias"))),
        *(NO_ROPE, Windows(switch="use_sliding_window", default=_without_positions, absent=None), Rope(2_000_000.0)),
    ),
    always=ALWAYS,
    outer=OUTER,
    block=_block,
)


def _scale(spec: ModelSpec) -> float:
    return float(said(spec, "mixer.scale") or said(spec, "mixer.head_dim") ** -0.5)


GRANITE = Family(
    name="granite",
    architecture="GraniteForCausalLM",
    parts=(
        *(*DENSE, kv_heads(None), UNTIED, HEAD_DIM, Bias(("attention_bias", "mlp_bias")), Rope()),
        Derived("attention_multiplier", "mixer.scale", lambda scale, _: 1.0 if scale is None else scale, _scale),
        Key("embedding_multiplier", "embedding_scale", absent=1.0),
        Key("residual_multiplier", "residual_scale", absent=1.0),
        Derived(
            "logits_scaling",
            "logit_scale",
            lambda divisor, _: 1 / (1.0 if divisor is None else divisor),
            # 1 / (1 / 49) is not 49; rounding makes it so.
            lambda spec: round(1 / spec.logit_scale, 12),
        ),
    ),
    always=ALWAYS,
    outer=OUTER,
    block=_block,
    limits=whole_heads,
)
