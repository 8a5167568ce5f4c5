"""GPT-NeoX, and so Pythia: parallel branches, RoPE over a share of the channels, LayerNorm, biases everywhere."""

import re
from typing import Any

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Derived, Fixed, Key, UnsupportedError, said
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import ATTENTION_DROPOUT, SIZES, UNTIED
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import Weight, by_head, product


def _block(_: ModelSpec, layer: LayerSpec) -> list[Weight]:
    return [
        *product("mixer_norm", "input_layernorm", bias=True),
        *product("feed_forward_norm", "post_attention_layernorm", bias=True),
        *product("mixer.qkv", "attention.query_key_value", bias=True, form=by_head(layer)),
        *product("mixer.output", "attention.dense", bias=True),
        *product("feed_forward.up", "mlp.dense_h_to_4h", bias=True),
        *product("feed_forward.down", "mlp.dense_4h_to_h", bias=True),
    ]


_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_fast"}
"""Our kinds of feed-forwards → their activations."""


def _kind(activation: Any, _: Config) -> str:
    names = {theirs: ours for ours, theirs in _ACTIVATIONS.items()}
    if activation is not None and activation not in names:
        raise UnsupportedError(f"hidden_act is {activation!r}; only {' and '.join(map(repr, names))} can be imported")
    return names[activation or "gelu"]


GPT_NEOX = Family(
    name="gpt_neox",
    architecture="GPTNeoXForCausalLM",
    parts=(
        *SIZES,
        Key("intermediate_size", "feed_forward.d_ff", absent=24576),
        Key("layer_norm_eps", "norm.eps", absent=1e-5),
        Key("use_parallel_residual", "parallel", absent=True),
        UNTIED,
        Derived(
            "hidden_act", "feed_forward.kind", _kind, lambda spec: _ACTIVATIONS.get(said(spec, "feed_forward.kind"))
        ),
        Fixed("attention_bias", True),
        ATTENTION_DROPOUT,
        Rope(theta="rotary_emb_base", share="rotary_pct", default_share=0.25),
    ),
    always={
        "mixer.kind": "attention",
        "norm.kind": "layernorm",
        "norm_placement": "pre",
        "bias": True,
    },
    outer=(
        Weight("embedding.weight", ("gpt_neox.embed_in.weight",)),
        *product("norm", "gpt_neox.final_layer_norm", bias=True),
    ),
    block=_block,
    prefix="gpt_neox.",
    blocks="gpt_neox.layers",
    head="embed_out.weight",
    ignored=re.compile(r"\.attention\.((masked_)?bias|rotary_emb\.inv_freq)$"),
)
