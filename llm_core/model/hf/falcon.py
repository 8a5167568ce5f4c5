"""Falcon: LayerNorm with biases, also where products have none; branches in parallel or in turn.

Three generations are one ``model_type``: branches in parallel that read one norm (7B, Falcon2-11B), or a norm each
(40B), and branches in turn (RW). Here each branch has a norm, and models with parallel branches are written as 40B is.
"""

from typing import Any

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Derived, Fields, Fixed, Implied, Key, Part, UnsupportedError, put, said
from llm_core.model.hf.family import Family, Tensors
from llm_core.model.hf.keys import ATTENTION_DROPOUT, SIZES, TIED
from llm_core.model.hf.llama import whole_heads
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import Weight, by_head, product, weight

_IN_TURN = ("input_layernorm", "post_attention_layernorm")
_PARALLEL = ("ln_attn", "ln_mlp")
"""Their norms before attention and before the feed-forward."""


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    norms = _PARALLEL if layer.parallel else _IN_TURN
    return [
        *product("mixer_norm", norms[0], bias=True),
        *product("feed_forward_norm", norms[1], bias=True),
        *product("mixer.qkv", "self_attention.query_key_value", bias=spec.bias, form=by_head(layer)),
        *product("mixer.output", "self_attention.dense", bias=spec.bias),
        *product("feed_forward.up", "mlp.dense_h_to_4h", bias=spec.bias),
        *product("feed_forward.down", "mlp.dense_4h_to_h", bias=spec.bias),
    ]


def _a_norm_for_each_branch(config: Config, tensors: Tensors) -> Tensors:
    """The tensors of a model whose branches in parallel read one norm, with two equal norms."""
    old = not config.get("new_decoder_architecture") and config.get("parallel_attn", True)
    if not old and config.get("num_ln_in_parallel_attn") != 1:
        return tensors
    found: Tensors = {}
    for name, tensor in tensors.items():
        names = [name.replace(_IN_TURN[0], norm) for norm in _PARALLEL] if f".{_IN_TURN[0]}." in name else [name]
        found |= {name: tensor.clone() for name in names}  # two norms: training changes each alone
    return found


class _Architecture(Part):
    """The keys that say how a block is built."""

    def read(self, config: Config, fields: Fields) -> None:
        """See ``Part``."""
        if config.get("alibi"):
            raise UnsupportedError(
                "alibi: transformers rounds Falcon's biases of attention to bfloat16, in steps that grow with the "
                "position, and no model here has such positions; only rotary ones can be imported"
            )
        new, parallel = bool(config.get("new_decoder_architecture")), bool(config.get("parallel_attn", True))
        norms = config.get("num_ln_in_parallel_attn")
        if new and (not parallel or norms not in (None, 1, 2)):
            raise UnsupportedError(
                f"new_decoder_architecture with parallel_attn {parallel} and num_ln_in_parallel_attn {norms}: "
                "transformers has no such block"
            )
        if not new and parallel and norms == 2:
            raise UnsupportedError("num_ln_in_parallel_attn 2 without new_decoder_architecture: it has one norm")
        heads = config.get("num_attention_heads")
        if new:
            groups = config.get("num_kv_heads")
        else:
            groups = 1 if config.get("multi_query", True) else heads
        put(fields.model, "mixer.n_kv_heads", heads if groups is None else groups)
        fields.model["parallel"] = parallel

    def write(self, spec: ModelSpec, config: Config) -> None:
        """See ``Part``."""
        n_kv_heads = said(spec, "mixer.n_kv_heads")
        config["alibi"] = False
        config["new_decoder_architecture"] = config["parallel_attn"] = spec.parallel
        config["num_ln_in_parallel_attn"] = 2 if spec.parallel else None
        config["multi_query"] = n_kv_heads == 1
        config["num_kv_heads"] = n_kv_heads


def _width(width: Any, config: Config) -> Any:
    return 4 * int(config["hidden_size"]) if width is None else width


FALCON = Family(
    name="falcon",
    architecture="FalconForCausalLM",
    parts=(
        *SIZES,
        Key("layer_norm_epsilon", "norm.eps", absent=1e-5),
        Key("bias", "bias", absent=False),
        Implied("norm.bias", True),
        Derived("ffn_hidden_size", "feed_forward.d_ff", _width),
        Fixed("activation", "gelu"),
        TIED,
        ATTENTION_DROPOUT,
        _Architecture(),
        Rope(),
    ),
    always={
        "mixer.kind": "attention",
        "norm.kind": "layernorm",
        "norm_placement": "pre",
        "feed_forward.kind": "gelu",
    },
    outer=(weight("embedding", "transformer.word_embeddings"), *product("norm", "transformer.ln_f", bias=True)),
    block=_block,
    prefix="transformer.",
    blocks="transformer.h",
    older=_a_norm_for_each_branch,
    limits=whole_heads,
)
