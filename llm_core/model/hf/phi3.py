"""Phi-3: Llama with fused matrices, and with RoPE over a share of the channels in some models."""

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.hf.config import Key, Windows
from llm_core.model.hf.family import Family
from llm_core.model.hf.keys import HEAD_DIM, UNTIED, kv_heads, llama_like
from llm_core.model.hf.llama import ALWAYS, OUTER, whole_heads
from llm_core.model.hf.rope import Rope
from llm_core.model.hf.weights import LLAMA_NORMS, Weight, weight


def _block(_: ModelSpec, __: LayerSpec) -> list[Weight]:
    return [
        *LLAMA_NORMS,
        weight("mixer.qkv", "self_attn.qkv_proj"),
        weight("mixer.output", "self_attn.o_proj"),
        weight("feed_forward.gate_up", "mlp.gate_up_proj"),
        weight("feed_forward.down", "mlp.down_proj"),
    ]


PHI3 = Family(
    name="phi3",
    architecture="Phi3ForCausalLM",
    parts=(
        *(*llama_like(norm_eps=1e-5), Key("intermediate_size", "feed_forward.d_ff"), kv_heads(None), UNTIED, HEAD_DIM),
        *(Windows(absent=None), Rope(default_share=1.0, scales=False)),
    ),
    always={**ALWAYS, "bias": False},
    outer=OUTER,
    block=_block,
    limits=whole_heads,
)
