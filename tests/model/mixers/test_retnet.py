import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.model.mixers.retnet.module import Retention, log_decays
from llm_core.model.state import new_state
from tests.model.shapes import model, spec, tokens

HEADS, KEY, VALUE = 4, 8, 16


def shape(**settings: object) -> ModelSpec:
    mixer = {"kind": "retention", "n_heads": HEADS, "chunk": 4, **settings}
    return spec(mixer=mixer, n_layers=1, document_mask=True)


def turned(x_TN: Tensor) -> Tensor:
    """Channels i and i + N/2 as one complex number, times exp(i · position · θ)."""
    numbers = torch.complex(*x_TN.double().chunk(2, dim=-1))
    angles = torch.arange(len(x_TN))[:, None] * 10_000.0 ** (-torch.arange(KEY // 2) / (KEY // 2))
    return numbers * torch.polar(torch.ones_like(angles), angles).to(numbers.dtype)


def parallel(mixer: Retention, x_TD: Tensor, documents_T: Tensor, normalised: bool) -> Tensor:
    """The paper's parallel form in fp64, head by head. ``normalised``: with those of its normalisations that the group
    norm undoes."""
    parts = x_TD.double() @ mixer.input.weight.double().T
    q, k, v, gate = parts.split((32, 32, 64, 64), dim=-1)
    distance = torch.arange(len(x_TD))[:, None] - torch.arange(len(x_TD))
    seen = (distance >= 0) & (documents_T[:, None] == documents_T)
    heads = []
    for h in range(HEADS):
        keys, values = slice(h * KEY, (h + 1) * KEY), slice(h * VALUE, (h + 1) * VALUE)
        decay = torch.where(seen, (1 - 2.0 ** (-5 - h)) ** distance.double(), 0.0)
        scores = (turned(q[:, keys]) @ turned(k[:, keys]).conj().T).real / math.sqrt(KEY)
        weights = scores * decay
        if normalised:
            weights = weights / decay.sum(-1, keepdim=True).sqrt()
            weights = weights / weights.sum(-1, keepdim=True).abs().clamp(min=1)
        mixed = weights @ v[:, values]
        centred = mixed - mixed.mean(-1, keepdim=True)
        heads.append(centred / (centred.square().mean(-1, keepdim=True) + mixer.eps).sqrt())
    return (functional.silu(gate) * torch.cat(heads, dim=-1)) @ mixer.output.weight.double().T


def inputs(length: int) -> Tensor:
    return torch.randn(2, length, 32, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize(("eps", "normalised"), [(0.0, True), (1.0, False)])
def test_matches_the_papers_parallel_form(eps: float, normalised: bool) -> None:
    built, x = model(shape()), inputs(22)
    mixer, documents = built.blocks[0].mixer, torch.tensor([[0] * 22, [0] * 9 + [1] * 13])
    mixer.eps = eps
    found, _ = mixer(x, None, built.context(torch.zeros(2, 22, dtype=torch.long), documents, None))
    for row in range(2):
        expected = parallel(mixer, x[row], documents[row], normalised)
        torch.testing.assert_close(found[row].double(), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("position", ["rope", "nope"])
def test_the_state_gives_what_one_chunk_gives(position: str) -> None:
    built, x = model(shape(position=position, chunk=64)), tokens(2, 40)
    whole = built(x, document_ids_BT=torch.zeros_like(x))
    state = new_state(built, 2, 40)
    steps = [built(x[:, t : t + 1], state=state) for t in range(40)]
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-4, rtol=1e-4)


def test_heads_remember_twice_as_long_one_after_the_other() -> None:
    expected = torch.log1p(-(2.0 ** -torch.arange(5, 25, dtype=torch.float64)))
    torch.testing.assert_close(log_decays(20, torch.device("cpu")).double(), expected, rtol=1e-6, atol=0)


@torch.inference_mode()
def test_a_state_is_as_large_however_long_the_text() -> None:
    built = model(shape())
    state = new_state(built.bfloat16(), 2, 1000)
    built(tokens(2, 40), state=state)
    built(tokens(2, 1), state=state)
    assert state.layers[0].sums_BHPN.shape == (2, HEADS, VALUE, KEY)
    assert state.layers[0].sums_BHPN.dtype == torch.float32


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"n_heads": 5}, "d_model 32 must be a multiple of n_heads 5"),
        ({"n_heads": 32}, "rope turns pairs: head_dim 1 must be even"),
        ({"position": "alibi"}, "retention supports positions that rotate keys, and nope, but not 'alibi'"),
        ({"window": 8}, "retention: window: there is no such key"),
    ],
)
def test_contradictions(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        spec(**over({"mixer": {"kind": "retention", "n_heads": 4}}, {"mixer": changes}))
