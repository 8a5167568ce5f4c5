import pytest
import torch
from torch import Tensor
from torch.nn import functional

from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.mixers.mamba2.module import Mamba2
from llm_core.model.state import new_state
from tests.model.shapes import model, spec, tokens

INNER, HEADS, WIDTH, STATE = 64, 8, 8, 5


def shape(groups: int = 1) -> ModelSpec:
    mixer = {"kind": "mamba2", "state": STATE, "head_dim": WIDTH, "groups": groups, "chunk": 4}
    return spec(mixer=mixer, feed_forward=None, n_layers=1)


def naive(mixer: Mamba2, x: Tensor, groups: int) -> Tensor:
    """Token by token and head by head, after the formulas."""
    B, T, _ = x.shape
    both = groups * STATE
    gate, convolved, dt = (x @ mixer.input.weight.T).split((INNER, INNER + 2 * both, HEADS), dim=-1)
    filtered = torch.zeros_like(convolved)
    for t in range(T):
        for back in range(min(4, t + 1)):
            filtered[:, t] += convolved[:, t - back] * mixer.convolution.weight[:, 3 - back]
    filtered = functional.silu(filtered + mixer.convolution.bias)
    v, write, read = filtered.split((INNER, both, both), dim=-1)
    mixed = torch.zeros(B, T, INNER)
    for h in range(HEADS):
        columns, g = slice(h * WIDTH, (h + 1) * WIDTH), h // (HEADS // groups)
        group = slice(g * STATE, (g + 1) * STATE)
        state = torch.zeros(B, WIDTH, STATE)
        for t in range(T):
            step = functional.softplus(dt[:, t, h] + mixer.dt_bias[h])[:, None, None]
            state = state * torch.exp(-step * mixer.A_log[h].exp())
            state = state + step * v[:, t, columns, None] * write[:, t, None, group]
            mixed[:, t, columns] = (state * read[:, t, None, group]).sum(-1) + mixer.D[h] * v[:, t, columns]
    mixed = (mixed * functional.silu(gate)).view(B, T, groups, -1)
    mixed = mixed / (mixed.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return (mixed.flatten(2) * mixer.norm.weight) @ mixer.output.weight.T


@pytest.mark.parametrize("groups", [1, 2])
def test_matches_a_naive_reference(groups: int) -> None:
    built, x = model(shape(groups)), torch.randn(2, 11, 32, generator=torch.Generator().manual_seed(1))
    mixer = built.blocks[0].mixer
    found, _ = mixer(x, None, built.context(torch.zeros(2, 11, dtype=torch.long), None, None))
    torch.testing.assert_close(found, naive(mixer, x, groups), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_state_is_as_large_however_long_the_text() -> None:
    built = model(shape())
    state = new_state(built.bfloat16(), 2, 1000)
    built(tokens(2, 40), state=state)
    built(tokens(2, 1), state=state)
    assert state.layers[0].inputs_BJC.shape == (2, 3, INNER + 2 * STATE)
    assert state.layers[0].inputs_BJC.dtype == torch.bfloat16
    assert state.layers[0].scan_BHPN.shape == (2, HEADS, WIDTH, STATE)
    assert state.layers[0].scan_BHPN.dtype == torch.float32


def test_fresh_weights_are_those_of_the_paper() -> None:
    mixer = {"kind": "mamba2", "state": 4, "head_dim": 1, "groups": 1}
    shaped = spec(mixer=mixer, feed_forward=None, n_layers=1, d_model=1000)
    fresh = build_model(shaped, 10, generator=torch.Generator().manual_seed(0)).blocks[0].mixer
    rates, steps = fresh.A_log.exp(), functional.softplus(fresh.dt_bias)
    assert 1 <= rates.min() < 1.1
    assert 15.9 < rates.max() <= 16
    assert steps.min() > 0.001 * 0.999
    assert steps.max() < 0.1 * 1.001
    # As many steps between 0.001 and 0.01 as between 0.01 and 0.1.
    assert (steps < 0.01).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert (fresh.D == 1).all()
    assert fresh.convolution.weight.abs().max() <= 0.5
    assert fresh.convolution.weight.std().item() == pytest.approx(0.5 / 3**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mixer": {"head_dim": 7}}, "expand · d_model = 64 is not a multiple of head_dim 7"),
        ({"mixer": {"head_dim": 16, "groups": 3}}, "its 4 heads are not a multiple of groups 3"),
        ({"mixer": {"kernel": 1}}, "mamba2: kernel: Input should be greater than or equal to 2"),
        ({"mixer": {"window": 8}}, "mamba2: window: there is no such key"),
        ({"mixer": {"softcap": 30.0}}, "mamba2: softcap: there is no such key"),
        ({"pattern": ({"mixer": {"share_kv": True}},)}, r"pattern\[0\]\.mixer: mamba2: share_kv: there is no such key"),
    ],
)
def test_contradictions(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        spec(**over({"mixer": {"kind": "mamba2"}, "feed_forward": None}, changes))
