"""BLOOM: ALiBi, LayerNorm, also after the embedding, and biases everywhere."""

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Derived, Fixed, Key
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import ATTENTION_DROPOUT, TIED
from llm_core.model.hf.weights import Weight, by_head, product, weight


def _block(_: ModelSpec, layer: LayerSpec) -> list[Weight]:
    return [
        *product("mixer_norm", "input_layernorm", bias=True),
        *product("feed_forward_norm", "post_attention_layernorm", bias=True),
        *product("mixer.qkv", "self_attention.query_key_value", bias=True, form=by_head(layer)),
        *product("mixer.output", "self_attention.dense", bias=True),
        *product("feed_forward.up", "mlp.dense_h_to_4h", bias=True),
        *product("feed_forward.down", "mlp.dense_4h_to_h", bias=True),
    ]


BLOOM = Family(
    name="bloom",
    architecture="BloomForCausalLM",
    parts=(
        Key("hidden_size", "d_model", absent=64),
        Key("n_head", "mixer.n_heads", absent=8),
        Key("layer_norm_epsilon", "norm.eps", absent=1e-5),
        Key("initializer_range", "init_std", absent=0.02),
        TIED,
        ATTENTION_DROPOUT,
        Derived("hidden_size", "feed_forward.d_ff", lambda width, _: 4 * (width or 64), lambda spec: spec.d_model),
        Fixed("apply_residual_connection_post_layernorm", False),
    ),
    always={
        "mixer.kind": "attention",
        "mixer.position.kind": "alibi",
        "norm.kind": "layernorm",
        "norm_placement": "pre",
        "feed_forward.kind": "gelu_tanh",
        "bias": True,
        "embedding_norm": True,
    },
    outer=(
        weight("embedding", "transformer.word_embeddings"),
        *product("embedding_norm", "transformer.word_embeddings_layernorm", bias=True),
        *product("norm", "transformer.ln_f", bias=True),
    ),
    block=_block,
    depth="n_layer",
    length=None,
    prefix="transformer.",
    blocks="transformer.h",
)
