"""Models by name: fields of ``ModelSpec``. Sizes count without the vocabulary, which is the tokenizer's.

``pedigree model NAME`` prints what a model has and costs.
"""

from typing import Any

_LOCAL = {"window": 512}

# Local to global 3:1, and every second local and every second global layer shares keys and values with the one before
# it of its kind (MixAttention: Rajput et al., 2024, arXiv:2409.15012).
_MIXATTENTION: list[dict[str, Any]] = [
    _LOCAL,
    {**_LOCAL, "share_kv": True},
    _LOCAL,
    {},
    {**_LOCAL, "share_kv": True},
    _LOCAL,
    {**_LOCAL, "share_kv": True},
    {"share_kv": True},
]

_LLAMA3: dict[str, Any] = {"rope_theta": 500_000.0, "norm": "rmsnorm", "feed_forward": "swiglu"}

_QT: dict[str, Any] = {
    "feed_forward": "gelu",
    "norm": "rmsnorm",
    "position": "alibi",
    "tie_embeddings": False,
    "document_mask": True,
}

_NOPE: dict[str, Any] = {"position": "nope"}


def _narrow(pattern: list[dict[str, Any]], window: int) -> list[dict[str, Any]]:
    return [{**entry, "window": window} if "window" in entry else entry for entry in pattern]


# Convolutions and attention in the order of LFM2-1.2B: ten and six of sixteen.
_LFM2 = [
    {"mixer": mixer}
    for mixer in (
        *("liv", "liv", "attention", "liv", "liv", "attention", "liv", "liv"),
        *("attention", "liv", "attention", "liv", "attention", "liv", "attention", "liv"),
    )
]

MODELS: dict[str, dict[str, Any]] = {
    # 16 blocks of 30.5M; with a vocabulary of 65,536 and an untied head 0.69B.
    "llama3_0.69b": {
        **_LLAMA3,
        "d_model": 1536,
        "n_layers": 16,
        "n_heads": 12,
        "n_kv_heads": 4,
        "d_ff": 5248,
        "tie_embeddings": False,
    },
    # The shape of Llama 3.2 1B (Llama team, 2024).
    "llama3_1b": {
        **_LLAMA3,
        "d_model": 2048,
        "n_layers": 16,
        "n_heads": 32,
        "n_kv_heads": 8,
        "d_ff": 8192,
    },
    "mixattention_1b": {
        **_LLAMA3,
        "d_model": 2048,
        "n_layers": 16,
        "n_heads": 32,
        "n_kv_heads": 8,
        "d_ff": 8192,
        "qk_norm": True,
        "document_mask": True,
        "pattern": _MIXATTENTION,
    },
    # 1,010,300,928 parameters with a vocabulary of 10,001. ALiBi, with a layer without positions after every three, and
    # two ALiBi layers at the end: 22 is no multiple of four, so the pattern says all layers. No layout of positions
    # changes the count.
    "qt_1b": {
        **_QT,
        "d_model": 2048,
        "n_layers": 22,
        "n_heads": 32,
        "n_kv_heads": 8,
        "d_ff": 8196,
        "pattern": [*[{"times": 3}, _NOPE] * 5, {"times": 2}],
    },
    # The shape of LFM2-1.2B (Liquid AI, 2025).
    "lfm2_1b": {
        "d_model": 2048,
        "n_layers": 16,
        "n_heads": 32,
        "n_kv_heads": 8,
        "d_ff": 8192,
        "rope_theta": 1_000_000.0,
        "qk_norm": True,
        "liv": {"kernel": 3},
        "document_mask": True,
        "pattern": _LFM2,
    },
    "tiny_llama3": {
        **_LLAMA3,
        "d_model": 128,
        "n_layers": 4,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_ff": 352,
    },
    "tiny_mixattention": {
        **_LLAMA3,
        "d_model": 128,
        "n_layers": 8,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_ff": 352,
        "qk_norm": True,
        "document_mask": True,
        "pattern": _narrow(_MIXATTENTION, 64),
    },
    "tiny_qt": {
        **_QT,
        "d_model": 128,
        "n_layers": 4,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_ff": 512,
        "pattern": [{"times": 3}, _NOPE],
    },
    "tiny_lfm2": {
        "d_model": 128,
        "n_layers": 4,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_ff": 352,
        "rope_theta": 1_000_000.0,
        "qk_norm": True,
        "liv": {"kernel": 3},
        "document_mask": True,
        "pattern": [{"mixer": "liv", "times": 2}, {"mixer": "attention"}, {"mixer": "liv"}],
    },
}
