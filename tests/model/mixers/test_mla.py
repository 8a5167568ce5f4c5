import pytest
import torch
from torch import Tensor
from torch.nn import functional

from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.model.mixers.mla.module import LatentAttention
from llm_core.model.state import KeyValueState, new_state
from tests.model.shapes import model, spec, tokens

MIXER = {"kind": "mla", "n_heads": 4, "kv_rank": 7, "nope_dim": 6, "rope_dim": 4, "value_dim": 5}


def shape(**changes: object) -> ModelSpec:
    return spec(mixer={**MIXER, **changes}, n_layers=1)


def naive(mixer: LatentAttention, x: Tensor, scale: float, seen: Tensor) -> Tensor:
    """Head by head and query by query, after the formula, with keys and values written out."""
    B, T, _ = x.shape
    heads, rank, nope, rope, value = mixer.n_heads, mixer.rank, mixer.nope_dim, mixer.rope_dim, mixer.value_dim
    tables = mixer.position.tables(0, T, x.device)
    q = x if mixer.query_down is None else mixer.query_norm(x @ mixer.query_down.weight.T)
    q = (q @ mixer.query_up.weight.T).view(B, T, heads, nope + rope)
    down = x @ mixer.kv_down.weight.T
    up = mixer.kv_norm(down[..., :rank]) @ mixer.kv_up.weight.T
    shared = mixer.position.rotate(down[:, None, :, rank:], tables)[:, 0]
    mixed = torch.zeros(B, T, heads, value)
    for h in range(heads):
        turned = mixer.position.rotate(q[:, None, :, h, nope:], tables)[:, 0]
        k = up[..., h * nope : (h + 1) * nope]
        v = up[..., heads * nope + h * value : heads * nope + (h + 1) * value]
        for b in range(B):
            for t in range(T):
                places = [s for s in range(T) if seen[t, s]]
                scores = [q[b, t, h, :nope] @ k[b, s] + turned[b, t] @ shared[b, s] for s in places]
                weights = functional.softmax(torch.stack(scores) * scale, dim=0)
                mixed[b, t, h] = sum(w * v[b, s] for w, s in zip(weights, places, strict=True))
    return mixed.flatten(2) @ mixer.output.weight.T


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"q_rank": 9},
        {"value_dim": 13},
        {"position": "nope"},
        {"window": 3},
        {"scale": 0.2},
    ],
    ids=str,
)
def test_matches_a_naive_reference(changes: dict) -> None:
    built, x = model(shape(**changes)), torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    mixer = built.blocks[0].mixer
    seen = torch.ones(6, 6).tril().triu(1 - changes.get("window", 6)).bool()
    scale = changes.get("scale", 10**-0.5)
    found, _ = mixer(x, None, built.context(torch.zeros(2, 6, dtype=torch.long), None, None))
    torch.testing.assert_close(found, naive(mixer, x, scale, seen), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_one_token_reads_the_latents_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache holds a latent and a key for all heads, and is never expanded for a single query."""
    built, x = model(shape()), tokens(2, 8)
    state = new_state(built, 2, 8)
    built(x[:, :7], state=state)
    cache = state.layers[0]
    assert isinstance(cache, KeyValueState)
    assert cache.keys.shape == (2, 1, 8, 7 + 4)
    assert cache.values.numel() == 0
    monkeypatch.setattr(LatentAttention, "_expanded", None)
    last = built(x[:, 7:], state=state)
    monkeypatch.undo()
    torch.testing.assert_close(last, built(x)[:, 7:], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_window_bounds_the_cache() -> None:
    built = model(shape(window=3))
    state = new_state(built, 1, 50)
    built(tokens(1, 20), state=state)
    assert state.layers[0].keys.shape == (1, 1, 2, 11)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mixer": {"kv_rank": None}}, "mla: kv_rank: Input should be a valid integer"),
        ({"mixer": {"kind": "attention", "n_heads": 4, "kv_rank": 7}}, "attention: kv_rank: there is no such key"),
        ({"mixer": {"position": "alibi"}}, "mla supports positions that rotate keys, and nope, but not 'alibi'"),
        ({"mixer": {"qk_norm": True}}, "mla: qk_norm: there is no such key"),
        ({"mixer": {"qkv_clip": 8.0}}, "mla: qkv_clip: there is no such key"),
        ({"mixer": {"n_kv_heads": 2}}, "mla: n_kv_heads: there is no such key"),
        ({"mixer": {"n_heads": None}}, "mla: n_heads: Input should be a valid integer"),
        ({"mixer": {"rope_dim": 5}}, "multiple of 2"),
        ({"pattern": ({}, {"mixer": {"share_kv": True}})}, r"pattern\[1\]\.mixer: mla: share_kv: there is no such key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contradictions(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        spec(**over({"mixer": MIXER}, changes))
