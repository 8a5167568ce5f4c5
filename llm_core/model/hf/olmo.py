"""OLMo 2 and 3 and OLMoE: QK-norm over all heads. OLMo 2 and 3 have norms after the branches only, OLMo 3 windows per
layer, OLMoE experts."""

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Config, Fixed, Key, Windows
from llm_core.model.hf.experts import PLAIN_EXPERTS, experts, mixture_of
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import UNTIED, kv_heads, llama_like
from llm_core.model.hf.llama import ALWAYS, OUTER, whole_heads
from llm_core.model.hf.rope import Rope, RopeByWindow
from llm_core.model.hf.weights import LLAMA_MLP, LLAMA_NORMS, Weight, attention, gated, weight

_NORMS = ("q_norm", "k_norm")
_PARTS = (*llama_like(norm_eps=1e-5), kv_heads(None), UNTIED, Fixed("attention_bias", False))
_ALWAYS = {**ALWAYS, "mixer.qk_norm": True, "mixer.qk_norm_over": "all", "bias": False}


def _block(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    return [
        weight("mixer_post_norm", "post_attention_layernorm"),
        weight("feed_forward_post_norm", "post_feedforward_layernorm"),
        *attention(spec, layer, "self_attn", norms=_NORMS),
        *gated(layer, LLAMA_MLP),
    ]


def _block_of_experts(spec: ModelSpec, layer: LayerSpec) -> list[Weight]:
    return [
        *LLAMA_NORMS,
        *attention(spec, layer, "self_attn", norms=_NORMS),
        weight("feed_forward.router", "mlp.gate"),
        *experts(mixture_of(layer), spec.d_model, "mlp.experts", ("gate_proj", "up_proj", "down_proj")),
    ]


def _but_every_fourth(_: Config, index: int) -> bool:
    return (index + 1) % 4 != 0


OLMO2 = Family(
    name="olmo2",
    architecture="Olmo2ForCausalLM",
    parts=(*_PARTS, Key("intermediate_size", "feed_forward.d_ff"), Rope()),
    always={**_ALWAYS, "norm_placement": "reordered"},
    outer=OUTER,
    block=_block,
    limits=whole_heads,
)

OLMO3 = Family(
    name="olmo3",
    architecture="Olmo3ForCausalLM",
    parts=(
        *_PARTS,
        Key("intermediate_size", "feed_forward.d_ff"),
        Windows(default=_but_every_fourth),
        RopeByWindow(500_000.0, local="rope_theta", local_theta=500_000.0),
    ),
    always={**_ALWAYS, "norm_placement": "reordered"},
    outer=OUTER,
    block=_block,
    limits=whole_heads,
)

OLMOE = Family(
    name="olmoe",
    architecture="OlmoeForCausalLM",
    parts=(
        *_PARTS,
        Key("num_experts", "feed_forward.experts", absent=64),
        Key("num_experts_per_tok", "feed_forward.top_k", absent=8),
        Key("intermediate_size", "feed_forward.d_ff"),
        Key("norm_topk_prob", "feed_forward.normalise", absent=False),
        Key("router_aux_loss_coef", "feed_forward.balance_loss", absent=0.01),
        *PLAIN_EXPERTS,
        Fixed("clip_qkv", None),  # theirs follows the norms
        Rope(),
    ),
    always={**_ALWAYS, "feed_forward.kind": "moe"},
    outer=OUTER,
    block=_block_of_experts,
    limits=whole_heads,
)
