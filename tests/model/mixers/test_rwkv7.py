import pytest
import torch
from torch import Tensor
from torch.nn import functional

from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.model.build import build_model
from llm_core.model.mixers.rwkv7.module import Rwkv7
from llm_core.model.mixers.rwkv7.recurrence import Inputs, chunked_recurrence, recurrent_step
from llm_core.model.state import new_state
from tests.model.shapes import RWKV7, model, named, spec, tokens

HEADS, WIDTH = 4, 8


def naive(mixer: Rwkv7, x: Tensor, first_v: Tensor | None) -> tuple[Tensor, Tensor]:
    """Token by token and head by head, after the paper's formulas; and the layer's own values."""
    before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
    r_in, w_in, k_in, v_in, a_in, g_in = (share * x + (1 - share) * before for share in mixer.shift.shares)

    def low_rank(part, inputs, function=lambda hidden: hidden):
        bias = 0 if part.bias is None else part.bias
        return function(inputs @ part.first.weight.T) @ part.second.weight.T + bias

    own = v_in @ mixer.value.weight.T
    v = own if first_v is None else torch.lerp(own, first_v, low_rank(mixer.value_share, v_in).sigmoid())
    a, gate = low_rank(mixer.rate, a_in).sigmoid(), low_rank(mixer.gate, g_in, torch.sigmoid)
    w = torch.exp(-(torch.tensor(-0.5).exp()) * low_rank(mixer.decay, w_in, torch.tanh).sigmoid())
    r, k = r_in @ mixer.receptance.weight.T, k_in @ mixer.key.weight.T
    removed, k = k * mixer.removal, k * (1 + (a - 1) * mixer.replacement)
    mixed = torch.zeros_like(x)
    for h in range(HEADS):
        of = slice(h * WIDTH, (h + 1) * WIDTH)
        state = torch.zeros(len(x), WIDTH, WIDTH)
        for t in range(x.shape[1]):
            q = removed[:, t, of] / removed[:, t, of].norm(dim=-1, keepdim=True)
            transition = torch.diag_embed(w[:, t, of]) - q[:, :, None] * (a[:, t, of] * q)[:, None]
            state = state @ transition + v[:, t, of, None] * k[:, t, None, of]
            y = (state @ r[:, t, of, None])[..., 0]
            y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True, unbiased=False) + WIDTH * 1e-5).sqrt()
            bonus = (r[:, t, of] * k[:, t, of] * mixer.bonus[of]).sum(-1, keepdim=True)
            mixed[:, t, of] = y * mixer.norm.weight[of] + mixer.norm.bias[of] + bonus * v[:, t, of]
    return (mixed * gate) @ mixer.output.weight.T, own


def test_matches_a_naive_reference() -> None:
    built = model(spec(mixer=RWKV7))
    x = torch.randn(2, 11, 32, generator=torch.Generator().manual_seed(1))
    context = built.context(torch.zeros(2, 11, dtype=torch.long), None, None)
    first, second = (block.mixer for block in built.blocks)
    found, kv = first(x, None, context)
    expected, own = naive(first, x, None)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(second(x, kv, context)[0], naive(second, x, own)[0], atol=1e-4, rtol=1e-4)


def inputs(length: int) -> Inputs:
    """With directions that return again and again, full rates and hardly any decay: what is hardest to solve for."""
    generator = torch.Generator().manual_seed(0)
    r, log_w, k, v, q, rate = (torch.randn(2, length, HEADS, WIDTH, generator=generator) for _ in range(6))
    q[:, ::2] = q[:, :1]
    return Inputs(r, -0.6 * (2 * log_w - 3).sigmoid(), k, v, functional.normalize(q, dim=-1), (3 * rate).sigmoid())


@pytest.mark.parametrize("chunk", [1, 7, 32, 64])
def test_chunks_are_the_recurrence(chunk: int) -> None:
    """Over 256 tokens, from a state, and with documents."""
    given = inputs(256)
    documents = (torch.arange(256) // 90).expand(2, -1)
    before = torch.randn(2, HEADS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))
    state, parts = before, []
    for t in range(256):
        state = state * (t == 0 or bool(documents[0, t] == documents[0, t - 1]))
        y, state = recurrent_step(Inputs(*(part[:, t : t + 1] for part in given)), state)
        parts.append(y)
    found, last = chunked_recurrence(given, chunk=chunk, document_ids_BT=documents, state_BHNN=before)
    torch.testing.assert_close(found, torch.cat(parts, dim=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(last, state, atol=1e-4, rtol=1e-4)


def test_gradients_of_chunks_are_those_of_one_chunk_after_another() -> None:
    found = []
    for chunk in (1, 16):
        given = Inputs(*(part.requires_grad_() for part in inputs(40)))
        y, last = chunked_recurrence(given, chunk=chunk)
        (y.sin().sum() + last.cos().sum()).backward()
        found.append([part.grad for part in given])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_state_is_as_large_however_long_the_text() -> None:
    built = model(named("rwkv7"))
    state = new_state(built.bfloat16(), 2, 1000)
    built(tokens(2, 40), state=state)
    built(tokens(2, 1), state=state)
    assert state.layers[0].inputs_BJC.shape == state.feed_forwards[0].inputs_BJC.shape == (2, 1, 32)
    assert state.layers[0].inputs_BJC.dtype == state.feed_forwards[0].inputs_BJC.dtype == torch.bfloat16
    assert state.layers[0].recurrence_BHNN.shape == (2, HEADS, WIDTH, WIDTH)
    assert state.layers[0].recurrence_BHNN.dtype == torch.float32


def test_fresh_weights_are_ramps_and_blocks_begin_as_nothing() -> None:
    shape = named("rwkv7", d_model=64, n_layers=4)
    fresh = build_model(shape, 10, generator=torch.Generator().manual_seed(0))
    for block in fresh.blocks:
        assert not block.mixer.output.weight.any()
        assert not block.feed_forward.down.weight.any()
        assert not block.mixer.decay.first.weight.any()
        second = block.mixer.decay.second.weight
        torch.testing.assert_close(second.T @ second, second.new_tensor(0.01 * 64 / 3) * torch.eye(3))
    first, last = fresh.blocks[0].mixer, fresh.blocks[3].mixer
    assert first.value_share is None
    assert last.value_share is not None
    places = torch.arange(64) / 64
    torch.testing.assert_close(first.shift.shares[1], places**0.9)
    torch.testing.assert_close(last.shift.shares[1], places ** (0.9 / 4))
    torch.testing.assert_close(fresh.blocks[3].feed_forward.shift.shares[0], places ** (0.25**4))
    lasting = torch.exp(-0.6065 * first.decay.bias.sigmoid())
    assert lasting[:5].min() > 0.99  # early channels hardly forget, late ones soon
    assert (lasting[:8].diff() < 0).all()
    assert lasting[-1] < 0.6
    assert fresh.embedding.weight.abs().max() <= 1e-4


def test_left_out_sizes_are_those_of_published_models() -> None:
    (_, layer, *_) = ModelSpec.model_validate({"preset": "rwkv_1b"}).layers
    assert layer.mixer.sizes() == (64, 96, 96, 64, 256)


def test_values_come_from_the_first_layer_of_the_kind() -> None:
    layers = spec(n_layers=4, pattern=({}, {"mixer": RWKV7}, {"mixer": RWKV7}, {})).layers
    assert [layer.kv_from for layer in layers] == [None, None, 1, None]
    assert not layers[1].mixer.value_residual
    alone = spec(n_layers=2, mixer={**RWKV7, "value_residual": False}).layers
    assert [layer.kv_from for layer in alone] == [None, None]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mixer": {"head_dim": 7}}, "d_model 32 is not a multiple of head_dim 7"),
        ({"mixer": {"chunk": 65}}, "rwkv7: chunk: Input should be less than or equal to 64"),
        ({"mixer": {"window": 8}}, "rwkv7: window: there is no such key"),
    ],
)
def test_contradictions(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        spec(**over({"mixer": {"kind": "rwkv7"}}, changes))
