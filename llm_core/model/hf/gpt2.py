"""GPT-2: learned positions, LayerNorm, biases everywhere. Its matrices are stored transposed."""

import re
from typing import Any

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Derived, Fixed, Key
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import TIED, attention_dropout
from llm_core.model.hf.weights import Transposed, Weight, product, weight

_PRODUCTS = {
    "mixer.qkv": "attn.c_attn",
    "mixer.output": "attn.c_proj",
    "feed_forward.up": "mlp.c_fc",
    "feed_forward.down": "mlp.c_proj",
}


def _block(_: ModelSpec, __: LayerSpec) -> list[Weight]:
    weights = [*product("mixer_norm", "ln_1", bias=True), *product("feed_forward_norm", "ln_2", bias=True)]
    for ours, theirs in _PRODUCTS.items():
        weights += product(ours, theirs, bias=True, form=Transposed())
    return weights


def four_times(width: Any, config: Config) -> int:
    """The hidden channels of the feed-forward; by default four times the width of the model."""
    return int(4 * config["n_embd"] if width is None else width)


GPT2 = Family(
    name="gpt2",
    architecture="GPT2LMHeadModel",
    parts=(
        Key("n_embd", "d_model"),
        Key("n_head", "mixer.n_heads"),
        Key("n_positions", "absolute_position.max_positions", absent=1024),
        Key("layer_norm_epsilon", "norm.eps", absent=1e-5),
        Key("initializer_range", "init_std", absent=0.02),
        TIED,
        attention_dropout("attn_pdrop", absent=0.1),
        Derived("n_inner", "feed_forward.d_ff", four_times),
        Fixed("activation_function", "gelu_new"),
        Fixed("scale_attn_weights", True),
        Fixed("scale_attn_by_inverse_layer_idx", False),
        Fixed("add_cross_attention", False),
    ),
    always={
        "mixer.kind": "attention",
        "mixer.position.kind": "nope",
        "absolute_position.kind": "learned",
        "norm.kind": "layernorm",
        "norm_placement": "pre",
        "feed_forward.kind": "gelu_tanh",
        "bias": True,
    },
    outer=(
        weight("embedding", "transformer.wte"),
        weight("position.embedding", "transformer.wpe"),
        *product("norm", "transformer.ln_f", bias=True),
    ),
    block=_block,
    depth="n_layer",
    length=None,
    prefix="transformer.",
    blocks="transformer.h",
    ignored=re.compile(r"\.attn\.(masked_)?bias$"),
)
