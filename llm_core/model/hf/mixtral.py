"""Mixtral: Llama with experts in every layer."""

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Implied, Key, Windows
from llm_core.model.hf.experts import PLAIN_EXPERTS, experts, mixture_of
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import HEAD_DIM, UNTIED, kv_heads, llama_like
from llm_core.model.hf.llama import ALWAYS, OUTER
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import LLAMA_NORMS, Weight, attention, weight


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    return [
        *LLAMA_NORMS,
        *attention(spec, layer, "self_attn"),
        weight("feed_forward.router", "block_sparse_moe.gate"),
        *experts(mixture_of(layer), spec.d_model, "block_sparse_moe.experts", ("w1", "w3", "w2")),
    ]


MIXTRAL = Family(
    name="mixtral",
    architecture="MixtralForCausalLM",
    parts=(
        *llama_like(norm_eps=1e-5),
        kv_heads(8),
        UNTIED,
        HEAD_DIM,
        Key("num_local_experts", "feed_forward.experts", absent=8),
        Key("num_experts_per_tok", "feed_forward.top_k", absent=2),
        Key("intermediate_size", "feed_forward.d_ff"),
        Key("router_aux_loss_coef", "feed_forward.balance_loss", absent=0.001),
        Implied("feed_forward.normalise", True),
        *PLAIN_EXPERTS,
        Windows(absent=None),
        Rope(1_000_000.0),
    ),
    always={**ALWAYS, "feed_forward.kind": "moe", "bias": False},
    outer=OUTER,
    block=_block,
)
