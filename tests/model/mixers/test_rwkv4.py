import math

import pytest
import torch
from torch import Tensor

from llm_core.model.build import build_model
from llm_core.model.mixers.rwkv4.means import Sums, decaying_means
from llm_core.model.mixers.rwkv4.module import Rwkv4, empty_sums
from llm_core.model.state import new_state
from tests.model.shapes import model, named, spec, tokens


def naive(k: Tensor, v: Tensor, decay: Tensor, first: Tensor, ids: list[int]) -> Tensor:
    """Sums of all pairs, token by token, after the formula, in fp64."""
    k, v, rate, first = k.double(), v.double(), decay.double().exp(), first.double()
    means = torch.zeros_like(k)
    for t in range(k.shape[1]):
        weights, values = (k[:, t] + first).exp(), (k[:, t] + first).exp() * v[:, t]
        for i in range(t):
            if len(set(ids[i : t + 1])) == 1:
                weight = (k[:, i] - (t - 1 - i) * rate).exp()
                weights, values = weights + weight, values + weight * v[:, i]
        means[:, t] = values / weights
    return means


def inputs(length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    k, v = (torch.randn(2, length, 6, generator=generator) for _ in range(2))
    return 4 * k, v, torch.linspace(-5, 3, 6), torch.linspace(-2, 2, 6)


@pytest.mark.parametrize("length", [1, 2, 21, 32])
def test_the_means_are_those_of_all_pairs(length: int) -> None:
    ids = [0] * 9 + [1] * 1 + [0] * 12 + [2] * 10
    before = Sums(*empty_sums(2, 6, "cpu").unbind(1))
    found, _ = decaying_means(*inputs(length), before, torch.tensor([ids[:1] + ids[:length]] * 2))
    torch.testing.assert_close(found.double(), naive(*inputs(length), ids[:length]), atol=1e-5, rtol=1e-5)
    alone, _ = decaying_means(*inputs(length), before, None)
    torch.testing.assert_close(alone.double(), naive(*inputs(length), [0] * length), atol=1e-5, rtol=1e-5)


def test_token_by_token_is_all_at_once() -> None:
    """Over 256 tokens, with keys so large that exp overflows."""
    k, v, decay, first = inputs(256)
    k = k + torch.linspace(-150, 150, 256)[:, None]
    whole, last = decaying_means(k, v, decay, first, Sums(*empty_sums(2, 6, "cpu").unbind(1)), None)
    sums, parts = Sums(*empty_sums(2, 6, "cpu").unbind(1)), []
    for t in range(256):
        y, sums = decaying_means(k[:, t : t + 1], v[:, t : t + 1], decay, first, sums, None)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(sums.values / sums.weights, last.values / last.weights, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_all_pairs() -> None:
    found = []
    for function in (naive, decaying_means):
        leaves = [part.double().requires_grad_() for part in inputs(13)]
        if function is naive:
            y = naive(*leaves, [0] * 13)
        else:
            y, _ = decaying_means(*leaves, Sums(*empty_sums(2, 6, "cpu").double().unbind(1)), None)
        y.sin().sum().backward()
        found.append([leaf.grad for leaf in leaves])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_the_mixer_is_the_papers() -> None:
    built = model(spec(mixer="rwkv4", n_layers=1))
    mixer: Rwkv4 = built.blocks[0].mixer
    x = torch.randn(2, 11, 32, generator=torch.Generator().manual_seed(1))
    before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
    of_k, of_v, of_r = (share * x + (1 - share) * before for share in mixer.shift.shares)
    means = naive(of_k @ mixer.key.weight.T, of_v @ mixer.value.weight.T, mixer.decay, mixer.first, [0] * 11).float()
    expected = ((of_r @ mixer.receptance.weight.T).sigmoid() * means) @ mixer.output.weight.T
    found, _ = mixer(x, None, built.context(torch.zeros(2, 11, dtype=torch.long), None, None))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_state_is_as_large_however_long_the_text() -> None:
    built = model(named("rwkv4"))
    state = new_state(built.bfloat16(), 2, 1000)
    built(tokens(2, 40), state=state)
    built(tokens(2, 1), state=state)
    assert state.layers[0].inputs_BJC.shape == (2, 1, 32)
    assert state.layers[0].inputs_BJC.dtype == torch.bfloat16
    assert state.layers[0].sums_B3C.shape == (2, 3, 32)
    assert state.layers[0].sums_B3C.dtype == torch.float32


def test_fresh_weights_are_ramps_and_blocks_begin_as_nothing() -> None:
    fresh = build_model(named("rwkv4", n_layers=3), 10, generator=torch.Generator().manual_seed(0))
    for block in fresh.blocks:
        assert not block.mixer.output.weight.any()
        assert not block.feed_forward.down.weight.any()
        assert block.mixer.value.weight.any()
    middle, places = fresh.blocks[1].mixer, torch.arange(32) / 32
    torch.testing.assert_close(middle.shift.shares[0], places ** (2 / 3))
    torch.testing.assert_close(middle.shift.shares[1], places ** (2 / 3) + 0.15)
    torch.testing.assert_close(middle.decay, 8 * (torch.arange(32) / 31) ** 1.35 - 5)
    torch.testing.assert_close(middle.first[:4], math.log(0.3) + torch.tensor([0.0, 0.5, -0.5, 0.0]))
