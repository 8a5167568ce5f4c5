"""Small models for tests."""

from typing import Any

import torch
from hypothesis import strategies as st
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
    return built


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


@st.composite
def specs(draw: st.DrawFn) -> ModelSpec:
    kv_heads, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return ModelSpec(
        d_model=kv_heads * groups * draw(st.sampled_from([2, 4, 8])),
        n_layers=draw(st.integers(1, 3)),
        n_heads=kv_heads * groups,
        n_kv_heads=kv_heads,
        d_ff=draw(st.integers(1, 40)),
        tie_embeddings=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
    )
