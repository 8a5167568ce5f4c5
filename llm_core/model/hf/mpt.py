"""MPT: ALiBi, LayerNorm without biases, GELU."""

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Derived, Fixed, Key
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import TIED
from llm_core.model.hf.weights import Weight, weight

_NAMES = {
    "mixer_norm": "norm_1",
    "mixer.qkv": "attn.Wqkv",
    "mixer.output": "attn.out_proj",
    "feed_forward_norm": "norm_2",
    "feed_forward.up": "ffn.up_proj",
    "feed_forward.down": "ffn.down_proj",
}


def _block(_: ModelSpec, __: LayerSpec) -> list[Weight]:
    return [weight(ours, theirs) for ours, theirs in _NAMES.items()]


MPT = Family(
    name="mpt",
    architecture="MptForCausalLM",
    parts=(
        Key("d_model", "d_model"),
        Key("n_heads", "mixer.n_heads"),
        Key("layer_norm_epsilon", "norm.eps", absent=1e-5),
        Key("initializer_range", "init_std", absent=0.02),
        TIED,
        Fixed("expansion_ratio", 4),
        Derived("d_model", "feed_forward.d_ff", lambda width, _: 4 * int(width), lambda spec: spec.d_model),
        # transformers accepts only whole numbers here, so only 0 can be written.
        Derived("attn_config.attn_pdrop", "mixer.dropout", lambda share, _: float(share or 0), lambda _: 0),
        Key("attn_config.clip_qkv", "mixer.qkv_clip", absent=None),
        Key("attn_config.softmax_scale", "mixer.scale", absent=None),
        Fixed("attn_config.alibi", True),
        Fixed("attn_config.alibi_bias_max", 8),
        Fixed("attn_config.attn_type", "multihead_attention"),
        Fixed("attn_config.prefix_lm", False),
        Fixed("attn_config.qk_ln", False),
        Fixed("logit_scale", None),
        Fixed("no_bias", True),
    ),
    always={
        "mixer.kind": "attention",
        "mixer.position.kind": "alibi",
        "norm.kind": "layernorm",
        "norm_placement": "pre",
        "feed_forward.kind": "gelu",
        "bias": False,
    },
    outer=(weight("embedding", "transformer.wte"), weight("norm", "transformer.norm_f")),
    block=_block,
    depth="n_layers",
    length="max_seq_len",
    prefix="transformer.",
    blocks="transformer.blocks",
)
