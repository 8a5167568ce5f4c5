"""Small models for tests."""

from typing import Any

from llm_core.contracts.components import BASE
from llm_core.contracts.models import VOCAB, tokens
from llm_core.contracts.models import loud_model as model
from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec

__all__ = ["BASE", "MODELS", "VOCAB", "model", "named", "spec", "tokens", "wide"]


def spec(**changes: Any) -> ModelSpec:
    """The small model with ``changes``: settings of a component of the same kind stand over those of ``BASE``."""
    return ModelSpec.model_validate(over(BASE, changes))


MLA = {"kind": "mla", "n_heads": 4, "kv_rank": 12, "nope_dim": 6, "rope_dim": 4, "value_dim": 10}

RWKV7 = {
    "kind": "rwkv7",
    "head_dim": 8,
    "chunk": 4,
    "decay_rank": 3,
    "rate_rank": 4,
    "value_rank": 5,
    "gate_rank": 6,
}

# Every idea once, in a small model. Tests of what must hold for any model run over all of them.
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "multi_head": {"mixer": {"n_kv_heads": 4}},
    "multi_query": {"mixer": {"n_kv_heads": 1, "qk_norm": True}},
    "wide_heads": {"mixer": {"head_dim": 12}, "tie_embeddings": False},
    "window": {"mixer": {"window": 4}},
    "mixattention": {
        "n_layers": 4,
        "mixer": {"qk_norm": True},
        "pattern": (
            {"mixer": {"window": 3}},
            {"mixer": {"window": 3, "share_kv": True}},
            {},
            {"mixer": {"share_kv": True}},
        ),
    },
    "softcaps": {"mixer": {"softcap": 5.0, "window": 4}, "logit_softcap": 10.0},
    "gemma": {
        "norm_placement": "sandwich",
        "mixer": {"scale": 0.3},
        "feed_forward": {"kind": "geglu", "d_ff": 48},
        "embedding_scale": 5.7,
    },
    "post_norm": {
        "norm_placement": "post",
        "norm": "layernorm",
        "bias": True,
        "feed_forward": {"kind": "relu", "d_ff": 48},
    },
    "reordered": {"norm_placement": "reordered", "feed_forward": {"kind": "relu2", "d_ff": 48}},
    "alibi": {
        "d_model": 48,
        "mixer": {"n_heads": 6, "position": "alibi"},
        "norm": "layernorm",
        "feed_forward": {"kind": "gelu", "d_ff": 48},
    },
    "nope_every_second": {"pattern": ({}, {"mixer": {"position": "nope"}})},
    "sinusoidal": {"mixer": {"position": "nope"}, "absolute_position": "sinusoidal"},
    "gpt2": {
        "mixer": {"position": "nope"},
        "absolute_position": {"kind": "learned", "max_positions": 64},
        "bias": True,
        "norm": "layernorm",
        "feed_forward": {"kind": "gelu_tanh", "d_ff": 48},
    },
    "mla": {"mixer": MLA},
    "mla_narrow_queries": {
        "mixer": {**MLA, "q_rank": 10, "value_dim": 5, "window": 4, "softcap": 5.0},
        "norm": {"kind": "layernorm", "bias": False},
        "bias": True,
    },
    "liv": {"mixer": {"kind": "liv", "kernel": 3}, "bias": True},
    "gpt_neox": {
        "parallel": True,
        "bias": True,
        "norm": "layernorm",
        "mixer": {"n_kv_heads": 4, "position": {"kind": "rope", "share": 0.5}},
        "feed_forward": {"kind": "gelu", "d_ff": 48},
    },
    "scaled_branches": {
        "norm_placement": "reordered",
        "mixer": {"qk_norm": True, "qk_norm_over": "all", "qkv_bias": True},
        "residual_scale": 0.5,
        "logit_scale": 0.4,
    },
    "mamba": {"mixer": {"kind": "mamba", "state": 6, "chunk": 8}, "feed_forward": None},
    "mamba2": {
        "mixer": {"kind": "mamba2", "state": 6, "head_dim": 8, "groups": 2, "chunk": 4},
        "feed_forward": None,
    },
    "retnet": {
        "mixer": {"kind": "retention", "n_heads": 4, "chunk": 4},
        "feed_forward": {"kind": "gelu", "d_ff": 48},
        "norm": "layernorm",
        "bias": True,
    },
    "hyena": {"mixer": {"kind": "hyena", "max_length": 64, "bands": 4, "filter_width": 8}, "bias": True},
    "hyena_order_3": {"mixer": {"kind": "hyena", "max_length": 64, "order": 3, "filter_width": 8}},
    "rwkv7": {
        "n_layers": 3,
        "mixer": RWKV7,
        "feed_forward": {"kind": "rwkv7_channel_mix", "d_ff": 48},
        "norm": "layernorm",
        "bias": True,
        "embedding_norm": True,
        "tie_embeddings": False,
    },
    "rwkv4": {
        "mixer": "rwkv4",
        "feed_forward": {"kind": "rwkv4_channel_mix", "d_ff": 48},
        "norm": "layernorm",
        "bias": True,
        "embedding_norm": True,
        "tie_embeddings": False,
    },
    "rwkv7_in_part": {
        "n_layers": 4,
        "pattern": ({"mixer": {**RWKV7, "chunk": 8}}, {"feed_forward": {"kind": "rwkv7_channel_mix", "d_ff": 40}}),
    },
    "hybrid": {
        "n_layers": 4,
        "pattern": (
            {"mixer": {"kind": "mamba2", "state": 8, "head_dim": 16, "chunk": 8}},
            {"mixer": {"kind": "liv", "kernel": 4}},
            {"mixer": {**MLA, "position": "nope"}},
            {"mixer": {"window": 5}},
        ),
    },
    "moe": {"feed_forward": {"kind": "moe", "experts": 5, "top_k": 2, "d_ff": 24}},
    "moe_after_dense": {
        "pattern": (
            {},
            {
                "feed_forward": {
                    "kind": "moe",
                    "experts": 4,
                    "top_k": 2,
                    "d_ff": 16,
                    "shared": 1,
                    "score": "sigmoid",
                    "scale": 2.5,
                    "bias_rate": 0.01,
                }
            },
        ),
        "bias": True,
    },
    "value_embeddings": {
        "n_layers": 4,
        "mixer": {"qk_norm": True, "scale": 0.5},
        "feed_forward": {"kind": "relu2", "d_ff": 48},
        "norm": {"kind": "rmsnorm", "gain": False},
        "embedding_norm": True,
        "stream_scales": {"residual": (1.15, 1.05), "input": (0.2, 0.05)},
        "tie_embeddings": False,
        "init": {"matrices": "fan_in", "residual_writers": "zero", "embedding_std": 0.8, "head_std": 0.3},
        "pattern": ({}, {"mixer": {"value_embedding": {}}}),
    },
    "value_embeddings_in_windows": {
        "mixer": {"value_embedding": {"gate_channels": 5, "gate_scale": 2.0}, "window": 4},
        "stream_scales": {},
    },
    "ngram_embedding": {"embedding_norm": True, "ngram_embedding": {"rows": 13, "longest": 3}},
    "far_rope": {
        "mixer": {
            "position": {"kind": "rope", "scaling": {"kind": "llama3", "factor": 4.0, "original_length": 8}},
        }
    },
}


def named(name: str, **changes: Any) -> ModelSpec:
    return spec(**over(MODELS[name], changes))


def wide(name: str, **changes: Any) -> ModelSpec:
    """The same with heads of attention of 64 channels."""
    heads = {"mixer": {"head_dim": 64}} if named(name).mixer.kind == "attention" else {}
    return named(name, **over({"d_model": 384 if name == "alibi" else 256, **heads}, changes))
