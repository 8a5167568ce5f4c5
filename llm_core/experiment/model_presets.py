"""Models by name: fields of ``ModelSpec``. Sizes do not include the vocabulary, which depends on the tokenizer.

``pedigree model NAME`` prints the layers and costs of a model.
"""

from typing import Any

_LOCAL = {"mixer": {"window": 512}}

# Local to global 3:1. Every second local and every second global layer shares the keys and values of the layer of its
# kind before it (MixAttention: Rajput et al., 2024, arXiv:2409.15012).
_MIXATTENTION: list[dict[str, Any]] = [
    _LOCAL,
    {"mixer": {"window": 512, "share_kv": True}},
    _LOCAL,
    {},
    {"mixer": {"window": 512, "share_kv": True}},
    _LOCAL,
    {"mixer": {"window": 512, "share_kv": True}},
    {"mixer": {"share_kv": True}},
]

_ROPE3 = {"kind": "rope", "theta": 500_000.0}

_QT: dict[str, Any] = {"norm": "rmsnorm", "tie_embeddings": False, "document_mask": True}

_NOPE: dict[str, Any] = {"mixer": {"position": "nope"}}


def _narrow(pattern: list[dict[str, Any]], window: int) -> list[dict[str, Any]]:
    return [
        {"mixer": {**entry["mixer"], "window": window}} if "window" in entry.get("mixer", {}) else entry
        for entry in pattern
    ]


_LIV: dict[str, Any] = {"mixer": {"kind": "liv", "kernel": 3}}

# Convolutions and attention in the order of LFM2-1.2B: ten and six of sixteen.
_LFM2: list[dict[str, Any]] = [
    *(_LIV, _LIV, {}, _LIV, _LIV, {}, _LIV, _LIV),
    *({}, _LIV, {}, _LIV, {}, _LIV, {}, _LIV),
]

_RWKV: dict[str, Any] = {
    "mixer": "rwkv7",
    "norm": "layernorm",
    "bias": True,
    "embedding_norm": True,
    "tie_embeddings": False,
    "document_mask": True,
}


def _attention(n_heads: int, n_kv_heads: int, position: Any, **settings: Any) -> dict[str, Any]:
    return {"kind": "attention", "n_heads": n_heads, "n_kv_heads": n_kv_heads, "position": position, **settings}


MODELS: dict[str, dict[str, Any]] = {
    # 16 blocks of 30.5M; with a vocabulary of 65,536 and an untied head 0.69B.
    "llama3_0.69b": {
        "d_model": 1536,
        "n_layers": 16,
        "mixer": _attention(12, 4, _ROPE3),
        "feed_forward": {"kind": "swiglu", "d_ff": 5248},
        "tie_embeddings": False,
    },
    # The shape of Llama 3.2 1B (Llama team, 2024).
    "llama3_1b": {
        "d_model": 2048,
        "n_layers": 16,
        "mixer": _attention(32, 8, _ROPE3),
        "feed_forward": {"kind": "swiglu", "d_ff": 8192},
    },
    "mixattention_1b": {
        "d_model": 2048,
        "n_layers": 16,
        "mixer": _attention(32, 8, _ROPE3, qk_norm=True),
        "feed_forward": {"kind": "swiglu", "d_ff": 8192},
        "document_mask": True,
        "pattern": _MIXATTENTION,
    },
    # 1,010,300,928 parameters with a vocabulary of 10,001. ALiBi, with a layer without positions after every three, and
    # two ALiBi layers at the end. 22 is not a multiple of four, so the pattern lists all layers. The count does not
    # depend on the layout of positions.
    "qt_1b": {
        **_QT,
        "d_model": 2048,
        "n_layers": 22,
        "mixer": _attention(32, 8, "alibi"),
        "feed_forward": {"kind": "gelu", "d_ff": 8196},
        "pattern": [*[{"times": 3}, _NOPE] * 5, {"times": 2}],
    },
    # The shape of LFM2-1.2B (Liquid AI, 2025).
    "lfm2_1b": {
        "d_model": 2048,
        "n_layers": 16,
        "mixer": _attention(32, 8, {"kind": "rope", "theta": 1_000_000.0}, qk_norm=True),
        "feed_forward": {"kind": "swiglu", "d_ff": 8192},
        "document_mask": True,
        "pattern": _LFM2,
    },
    # The shape of RetNet 1.3B (Sun et al., 2023), with 20 of its 24 layers.
    "retnet_1b": {
        "d_model": 2048,
        "n_layers": 20,
        "mixer": {"kind": "retention", "n_heads": 8},
        "feed_forward": {"kind": "gelu", "d_ff": 4096},
        "norm": "layernorm",
        "document_mask": True,
    },
    # The proportions of the 153M that was published with the paper for The Pile (18 layers of width 864), wider and
    # deeper: feed-forwards of 2 · d_model, order 2, filters from 33 numbers per lag and 64 hidden channels.
    "hyena_1b": {
        "d_model": 2048,
        "n_layers": 28,
        "mixer": {"kind": "hyena", "max_length": 2048},
        "feed_forward": {"kind": "gelu_tanh", "d_ff": 4096},
        "norm": "layernorm",
        "bias": True,
        "document_mask": True,
    },
    # RWKV-7 (Peng et al., 2025) as wide as its 1.5B model, whose 24 layers have 1.5B parameters, with 16 of them.
    "rwkv_1b": {
        **_RWKV,
        "d_model": 2048,
        "n_layers": 16,
        "feed_forward": {"kind": "rwkv7_channel_mix", "d_ff": 8192},
    },
    "tiny_llama3": {
        "d_model": 128,
        "n_layers": 4,
        "mixer": _attention(4, 2, _ROPE3),
        "feed_forward": {"kind": "swiglu", "d_ff": 352},
    },
    "tiny_mixattention": {
        "d_model": 128,
        "n_layers": 8,
        "mixer": _attention(4, 2, _ROPE3, qk_norm=True),
        "feed_forward": {"kind": "swiglu", "d_ff": 352},
        "document_mask": True,
        "pattern": _narrow(_MIXATTENTION, 64),
    },
    "tiny_qt": {
        **_QT,
        "d_model": 128,
        "n_layers": 4,
        "mixer": _attention(4, 2, "alibi"),
        "feed_forward": {"kind": "gelu", "d_ff": 512},
        "pattern": [{"times": 3}, _NOPE],
    },
    "tiny_lfm2": {
        "d_model": 128,
        "n_layers": 4,
        "mixer": _attention(4, 2, {"kind": "rope", "theta": 1_000_000.0}, qk_norm=True),
        "feed_forward": {"kind": "swiglu", "d_ff": 352},
        "document_mask": True,
        "pattern": [{**_LIV, "times": 2}, {}, _LIV],
    },
    # nanochat's shape (Karpathy, 2025-2026) at depth 4: value embeddings in every second layer and the last, branches
    # that begin as nothing, learned scales of the residual stream. Scores are sharpened by 1.2 on both sides.
    "tiny_value_embeddings": {
        "d_model": 128,
        "n_layers": 4,
        "mixer": _attention(2, 2, {"kind": "rope", "theta": 100_000.0}, qk_norm=True, scale=1.2**2 / 64**0.5),
        "feed_forward": {"kind": "relu2", "d_ff": 512},
        "norm": {"kind": "rmsnorm", "gain": False},
        "embedding_norm": True,
        "stream_scales": {"residual": [1.15, 1.05], "input": [0.2, 0.05]},
        "logit_softcap": 15.0,
        "tie_embeddings": False,
        "init": {
            "matrices": "fan_in",
            "residual_writers": "zero",
            "feed_forward": 0.4,
            "embedding_std": 0.8,
            "head_std": 0.001,
        },
        "pattern": [{}, {"mixer": {"value_embedding": {"gate_channels": 12, "gate_scale": 3.0}}}],
    },
    "tiny_rwkv": {
        **_RWKV,
        "d_model": 128,
        "n_layers": 4,
        "feed_forward": {"kind": "rwkv7_channel_mix", "d_ff": 512},
    },
}
