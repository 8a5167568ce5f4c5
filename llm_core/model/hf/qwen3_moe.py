"""Qwen3-MoE: Qwen3 with experts in all layers but a few."""

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Derived, Fixed, Implied, Key, Windows
from llm_core.model.hf.experts import DENSE_WIDTH, PLAIN_EXPERTS, ExpertLayers, experts, mixture_of, routes
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import HEAD_DIM, UNTIED, kv_heads, llama_like
from llm_core.model.hf.llama import OUTER
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import LLAMA_MLP, LLAMA_NORMS, Weight, attention, gated, weight


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    weights = [*LLAMA_NORMS, *attention(spec, layer, "self_attn", norms=("q_norm", "k_norm"))]
    if not routes(layer):
        return [*weights, *gated(layer, LLAMA_MLP)]
    return [
        *weights,
        weight("feed_forward.router", "mlp.gate"),
        *experts(mixture_of(layer), spec.d_model, "mlp.experts", ("gate_proj", "up_proj", "down_proj")),
    ]


def _dense(config: Config, index: int) -> bool:
    step = int(config.get("decoder_sparse_step", 1))
    return index in (config.get("mlp_only_layers") or ()) or (index + 1) % step != 0


QWEN3_MOE = Family(
    name="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    parts=(
        *(*llama_like(), kv_heads(4), UNTIED, HEAD_DIM, Fixed("attention_bias", False)),
        Implied("feed_forward.kind", "swiglu"),
        DENSE_WIDTH,
        ExpertLayers(
            (
                # Newer versions of transformers save the second key.
                Derived(
                    "num_experts",
                    "feed_forward.experts",
                    lambda number, config: number or config.get("num_local_experts", 128),
                ),
                Key("num_experts_per_tok", "feed_forward.top_k", absent=8),
                Key("moe_intermediate_size", "feed_forward.d_ff", absent=768),
                Key("norm_topk_prob", "feed_forward.normalise", absent=False),
                Key("router_aux_loss_coef", "feed_forward.balance_loss", absent=0.001),
                *PLAIN_EXPERTS,
            ),
            dense=_dense,
            listed=lambda numbers: {"mlp_only_layers": numbers, "decoder_sparse_step": 1},
        ),
        *(Windows(switch="use_sliding_window"), Rope()),
    ),
    always={
        "mixer.kind": "attention",
        "mixer.qk_norm": True,
        "norm.kind": "rmsnorm",
        "norm_placement": "pre",
        "bias": False,
    },
    outer=OUTER,
    block=_block,
)
