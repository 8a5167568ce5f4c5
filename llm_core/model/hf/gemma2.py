"""Gemma 2 and 3: norms before and after every branch. Gemma 2 has softcaps and a window in every second layer, Gemma 3
QK-norm, and in most layers a window and another base of the angles."""

from typing import Any

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Derived, Fixed, Key, Windows, said
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import ATTENTION_DROPOUT, SIZES, TIED, kv_heads
from llm_core.model.hf.llama import ALWAYS, whole_heads
from llm_core.model.hf.rope import Rope, RopeByWindow
from llm_core.model.hf.weights import LLAMA_MLP, OnePlus, Weight, attention, gated, weight

_NORMS = {
    "mixer_norm": "input_layernorm",
    "mixer_post_norm": "post_attention_layernorm",
    "feed_forward_norm": "pre_feedforward_layernorm",
    "feed_forward_post_norm": "post_feedforward_layernorm",
}


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    norms = ("q_norm", "k_norm") if said(spec, "mixer.qk_norm") else None
    return [
        *(weight(ours, theirs, form=OnePlus()) for ours, theirs in _NORMS.items()),
        *attention(spec, layer, "self_attn", norms=norms, form=OnePlus()),
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


def _but_every(config: Config, index: int) -> bool:
    """In older configurations a number of layers, of which the last has no window."""
    return (index + 1) % int(config.get("sliding_window_pattern", 6)) != 0


_PARTS = (
    *SIZES,
    Key("intermediate_size", "feed_forward.d_ff"),
    kv_heads(4),
    Key("head_dim", "mixer.head_dim", absent=256),
    Key("rms_norm_eps", "norm.eps", absent=1e-6),
    TIED,
    Derived("query_pre_attn_scalar", "mixer.scale", _scale, _scalar),
    Derived("hidden_size", "embedding_scale", lambda width, _: float(width) ** 0.5, lambda spec: spec.d_model),
    Fixed("hidden_activation", "gelu_pytorch_tanh"),
    Fixed("attention_bias", False),
    ATTENTION_DROPOUT,
)
_ALWAYS = {**ALWAYS, "norm_placement": "sandwich", "feed_forward.kind": "geglu", "bias": False}
_OUTER = (weight("embedding", "model.embed_tokens"), weight("norm", "model.norm", form=OnePlus()))

GEMMA2 = Family(
    name="gemma2",
    architecture="Gemma2ForCausalLM",
    parts=(
        *_PARTS,
        Key("attn_logit_softcapping", "mixer.softcap", absent=50.0),
        Key("final_logit_softcapping", "logit_softcap", absent=30.0),
        Fixed("use_bidirectional_attention", None),
        Windows(default=_every_second),
        Rope(),
    ),
    always={**_ALWAYS, "mixer.qk_norm": False},
    outer=_OUTER,
    block=_block,
    limits=whole_heads,
)

GEMMA3 = Family(
    name="gemma3_text",
    architecture="Gemma3ForCausalLM",
    parts=(
        *_PARTS,
        Key("attn_logit_softcapping", "mixer.softcap", absent=None),
        Key("final_logit_softcapping", "logit_softcap", absent=None),
        Fixed("use_bidirectional_attention", False),
        Windows(default=_but_every),
        RopeByWindow(1_000_000.0, local="rope_local_base_freq", local_theta=10_000.0),
    ),
    always={**_ALWAYS, "mixer.qk_norm": True},
    outer=_OUTER,
    block=_block,
    limits=whole_heads,
)
