"""Small models for tests."""

from typing import Any

import torch
from torch import nn

from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model

VOCAB = 50


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec(**{"d_model": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 48, **changes})


def model(shape: ModelSpec, seed: int = 0) -> nn.Module:
    """A model whose weights are large enough for every part to show in the logits."""
    generator = torch.Generator().manual_seed(seed)
    built = build_model(shape.model_copy(update={"init_std": 0.3}), VOCAB, generator=generator)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5, generator=generator)
            elif name.endswith("bias"):
                parameter.uniform_(-0.5, 0.5, generator=generator)
    return built


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


_MLA = {"kv_rank": 12, "nope_dim": 6, "rope_dim": 4, "value_dim": 10}

# Every idea once, in a small model. Tests of what must hold for any model run over all of them.
MODELS: dict[str, dict[str, Any]] = {
    "llama": {},
    "multi_head": {"n_kv_heads": 4},
    "multi_query": {"n_kv_heads": 1, "qk_norm": True},
    "wide_heads": {"head_dim": 12, "tie_embeddings": False},
    "window": {"window": 4},
    "mixattention": {
        "n_layers": 4,
        "qk_norm": True,
        "pattern": ({"window": 3}, {"window": 3, "share_kv": True}, {}, {"share_kv": True}),
    },
    "softcaps": {"attention_softcap": 5.0, "logit_softcap": 10.0, "window": 4},
    "gemma": {
        "norm_placement": "sandwich",
        "feed_forward": "geglu",
        "embedding_scale": 5.7,
        "attention_scale": 0.3,
    },
    "post_norm": {"norm_placement": "post", "norm": "layernorm", "bias": True, "feed_forward": "relu"},
    "reordered": {"norm_placement": "reordered", "feed_forward": "relu2"},
    "alibi": {"position": "alibi", "norm": "layernorm", "feed_forward": "gelu", "n_heads": 6, "d_model": 48},
    "nope_every_second": {"pattern": ({}, {"position": "nope"})},
    "sinusoidal": {"position": "sinusoidal"},
    "gpt2": {
        "position": "learned",
        "max_positions": 64,
        "bias": True,
        "norm": "layernorm",
        "feed_forward": "gelu_tanh",
    },
    "mla": {"mla": _MLA, "mixer": "mla"},
    "mla_narrow_queries": {
        "mla": {**_MLA, "q_rank": 10, "value_dim": 5},
        "mixer": "mla",
        "norm": "layernorm",
        "bias": True,
        "window": 4,
        "attention_softcap": 5.0,
    },
    "liv": {"liv": {"kernel": 3}, "mixer": "liv", "bias": True},
    "mamba2": {"mamba2": {"state": 6, "head_dim": 8, "groups": 2, "chunk": 4}, "mixer": "mamba2", "feed_forward": None},
    "hybrid": {
        "mla": _MLA,
        "liv": {"kernel": 4},
        "mamba2": {"state": 8, "head_dim": 16, "chunk": 8},
        "n_layers": 4,
        "pattern": ({"mixer": "mamba2"}, {"mixer": "liv"}, {"mixer": "mla", "position": "nope"}, {"window": 5}),
    },
    "moe": {
        "feed_forward": "moe",
        "d_ff": None,
        "moe": {"experts": 5, "top_k": 2, "d_ff": 24},
    },
    "moe_after_dense": {
        "moe": {"experts": 4, "top_k": 2, "d_ff": 16, "shared": 1, "score": "sigmoid", "scale": 2.5, "bias_rate": 0.01},
        "pattern": ({}, {"feed_forward": "moe"}),
        "bias": True,
    },
    "far_rope": {"rope_scaling": {"kind": "llama3", "factor": 4.0, "original_length": 8}},
}


def named(name: str, **changes: Any) -> ModelSpec:
    return spec(**{**MODELS[name], **changes})
