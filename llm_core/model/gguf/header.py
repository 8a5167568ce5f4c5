"""The hyperparameters of a model as the keys of a GGUF file."""

from collections.abc import Sequence
from typing import Any

from llm_core.experiment.model import ModelSpec
from llm_core.model.gguf.architectures import Architecture, attentions, experts, scaling_of
from llm_core.model.hf.config import said
from llm_core.model.mixers.attending import AttendingSpec
from llm_core.model.mixers.attention.spec import Attention
from llm_core.model.mixers.liv.spec import ShortConvolution
from llm_core.model.mixers.mamba.spec import Mamba
from llm_core.model.mixers.mamba2.spec import Mamba2
from llm_core.model.mixers.mla.spec import LatentAttention
from llm_core.model.positions.alibi.spec import Alibi
from llm_core.model.positions.rope.spec import Rope

Header = dict[str, Any]

ALIBI_BIAS = 8.0
"""The slopes of ALiBi's heads are powers of 2 down to 2 to the power of minus this (Press et al., 2022)."""


GATING = {"softmax": 1, "sigmoid": 2}
"""llama.cpp's numbers of the functions from a router's outputs to weights."""
YARN_LOG_MULTIPLIER = 0.1
"""With latent attention, llama.cpp sharpens the scores of YaRN by (1 + this · ln(factor))², as the paper does."""


def header(spec: ModelSpec, architecture: Architecture, length: int) -> Header:
    """Key without the architecture's name → value: a whole number, a float, a bool, a text, or a list of one type.

    ``length``: tokens of the longest text. llama.cpp ignores keys that an architecture does not have.
    """
    norm = "layer_norm_rms_epsilon" if spec.norm.kind == "rmsnorm" else "layer_norm_epsilon"
    return {
        "context_length": spec.longest() or length,  # a table of learned positions must have this many rows
        "embedding_length": spec.d_model,
        "block_count": spec.n_layers,
        f"attention.{norm}": spec.norm.eps,
        "embedding_scale": spec.embedding_scale,
        "residual_scale": spec.residual_scale,
        "logit_scale": 1 / spec.logit_scale,  # a divisor there
        "use_parallel_residual": spec.parallel,
        **({} if spec.logit_softcap is None else {"final_logit_softcapping": spec.logit_softcap}),
        **_feed_forward(spec),
        **_attention(spec, architecture),
        **_other_mixers(spec),
    }


def _feed_forward(spec: ModelSpec) -> Header:
    moe = next((here for layer in spec.layers if (here := experts(layer))), None)
    if moe is None:
        return {"feed_forward_length": said(spec, "feed_forward.d_ff") or 0}
    dense = [layer.feed_forward for layer in spec.layers if not experts(layer)]
    return {
        "feed_forward_length": getattr(dense[0], "d_ff", 0) if dense else moe.d_ff,
        "leading_dense_block_count": len(dense),
        "expert_count": moe.experts,
        "expert_used_count": moe.top_k,
        "expert_feed_forward_length": moe.d_ff,
        "expert_shared_count": moe.shared,
        "expert_weights_scale": moe.scale,
        "expert_weights_norm": moe.normalise,
        "expert_gating_func": GATING[moe.score],
    }


def _attention(spec: ModelSpec, architecture: Architecture) -> Header:
    mixers = attentions(spec)
    if not mixers:
        return _latent_attention([layer.mixer for layer in spec.layers if isinstance(layer.mixer, LatentAttention)])
    first = mixers[0]
    n_heads, n_kv_heads, head_dim = first.heads()
    attends = [isinstance(layer.mixer, Attention) for layer in spec.layers]
    found: Header = {
        "attention.head_count": n_heads,
        # A layer without heads of keys and values has another mixer (LFM2).
        "attention.head_count_kv": n_kv_heads if all(attends) else [n_kv_heads * here for here in attends],
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        **_rope([mixer for mixer in mixers if isinstance(mixer.position, Rope)]),
    }
    if first.softcap is not None:
        found["attn_logit_softcapping"] = first.softcap
    if first.qkv_clip is not None:
        found["attention.clamp_kqv"] = first.qkv_clip
    if isinstance(first.position, Alibi):
        found["attention.max_alibi_bias"] = ALIBI_BIAS
    if architecture.windows:
        widths = [mixer.window for mixer in mixers]
        found["attention.sliding_window_pattern"] = [width is not None for width in widths]
        if any(widths):
            found["attention.sliding_window"] = next(width for width in widths if width is not None)
    return found


def _latent_attention(mixers: list[LatentAttention]) -> Header:
    if not mixers:
        return {"attention.head_count": 0}
    first = mixers[0]
    key_dim, value_dim = first.head_widths()
    found: Header = {
        "attention.head_count": first.n_heads,
        # The cache has one head: the latent and the rotated key.
        "attention.head_count_kv": 1,
        "attention.key_length": first.kv_rank + first.rope_dim,
        "attention.value_length": first.kv_rank,
        "attention.key_length_mla": key_dim,
        "attention.value_length_mla": value_dim,
        "attention.kv_lora_rank": first.kv_rank,
        **({} if first.q_rank is None else {"attention.q_lora_rank": first.q_rank}),
        **_rope(mixers),
    }
    if found.get("rope.scaling.type") == "yarn":
        found["rope.scaling.yarn_log_multiplier"] = YARN_LOG_MULTIPLIER
    return found


def _rope(mixers: Sequence[AttendingSpec]) -> Header:
    """``mixers``: those with rotary positions. Layers with a window may have another base."""
    if not mixers:
        return {}
    by_window = {mixer.window is not None: mixer for mixer in reversed(mixers)}
    full = by_window.get(False, mixers[0])
    facts = full.position.facts(full.rotated_channels())
    found = {"rope.freq_base": facts["theta"], "rope.dimension_count": facts["rotated"]}
    if True in by_window:
        found["rope.freq_base_swa"] = by_window[True].position.facts(by_window[True].rotated_channels())["theta"]
    scaling = scaling_of(full)
    if scaling is not None and scaling.kind in ("linear", "yarn"):  # ntk is another base, and llama3 a tensor
        found |= {"rope.scaling.type": scaling.kind, "rope.scaling.factor": scaling.factor}
        found["rope.scaling.original_context_length"] = scaling.original_length
    return found


def _other_mixers(spec: ModelSpec) -> Header:
    mixer = next((layer.mixer for layer in spec.layers if not isinstance(layer.mixer, Attention)), None)
    if isinstance(mixer, ShortConvolution):
        return {"shortconv.l_cache": mixer.kernel}
    if not isinstance(mixer, Mamba | Mamba2):
        return {}
    found: Header = {
        "ssm.conv_kernel": mixer.kernel,
        "ssm.inner_size": mixer.expand * spec.d_model,
        "ssm.state_size": mixer.state,
    }
    if isinstance(mixer, Mamba2):
        return found | {"ssm.group_count": mixer.groups, "ssm.time_step_rank": mixer.head_count(spec.d_model)}
    return found | {"ssm.time_step_rank": mixer.dt_rank}
