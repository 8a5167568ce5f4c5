"""Gemma 2: norms before and after every branch, softcaps, a window in every second layer."""

from typing import Any

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Derived, Fixed, Key, Windows, said
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import ATTENTION_DROPOUT, SIZES, TIED, kv_heads
from llm_core.model.hf.llama import ALWAYS, whole_heads
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import LLAMA_MLP, OnePlus, Weight, attention, gated, weight

_NORMS = {
    "mixer_norm": "input_layernorm",
    "mixer_post_norm": "post_attention_layernorm",
    "feed_forward_norm": "pre_feedforward_layernorm",
    "feed_forward_post_norm": "post_feedforward_layernorm",
}


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    return [
        *(weight(ours, theirs, form=OnePlus()) for ours, theirs in _NORMS.items()),
        *attention(spec, layer, "self_attn"),
        *gated(layer, LLAMA_MLP),
    ]


def _scale(scalar: Any, _: Config) -> float:
    return float(256 if scalar is None else scalar) ** -0.5


def _scalar(spec: ModelSpec) -> int:
    """A whole number from 1 on, so it can't express every scale."""
    scale = said(spec, "mixer.scale") or said(spec, "mixer.head_dim") ** -0.5
    return max(1, round(max(scale, 1e-9) ** -2))


def _every_second(_: Config, index: int) -> bool:
    return index % 2 == 0


GEMMA2 = Family(
    name="gemma2",
    architecture="Gemma2ForCausalLM",
    parts=(
        *SIZES,
        Key("intermediate_size", "feed_forward.d_ff"),
        kv_heads(4),
        Key("head_dim", "mixer.head_dim", absent=256),
        Key("rms_norm_eps", "norm.eps", absent=1e-6),
        TIED,
        Key("attn_logit_softcapping", "mixer.softcap", absent=50.0),
        Key("final_logit_softcapping", "logit_softcap", absent=30.0),
        Derived("query_pre_attn_scalar", "mixer.scale", _scale, _scalar),
        Derived("hidden_size", "embedding_scale", lambda width, _: float(width) ** 0.5, lambda spec: spec.d_model),
        Fixed("hidden_activation", "gelu_pytorch_tanh"),
        Fixed("attention_bias", False),
        ATTENTION_DROPOUT,
        Fixed("use_bidirectional_attention", None),
        Windows(default=_every_second),
        Rope(),
    ),
    always={**ALWAYS, "norm_placement": "sandwich", "feed_forward.kind": "geglu"},
    outer=(weight("embedding", "model.embed_tokens"), weight("norm", "model.norm", form=OnePlus())),
    block=_block,
    limits=whole_heads,
)
