import pytest
import torch

from llm_core.model.state import new_state
from tests.model.shapes import model, spec, tokens


@pytest.mark.parametrize("kind", ["rwkv4_channel_mix", "rwkv7_channel_mix"])
def test_matches_the_formula(kind: str) -> None:
    built = model(spec(feed_forward={"kind": kind, "d_ff": 10}, n_layers=1))
    layer, x = built.blocks[0].feed_forward, torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    before = torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), dim=1)
    blends = [share * x + (1 - share) * before for share in layer.shift.shares]
    expected = (blends[0] @ layer.up.weight.T).clamp(min=0) ** 2 @ layer.down.weight.T
    if kind == "rwkv4_channel_mix":
        expected = (blends[1] @ layer.gate.weight.T).sigmoid() * expected
    found = layer(x, built.context(torch.zeros(2, 5, dtype=torch.long), None, None))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_only_what_looks_back_has_a_state() -> None:
    built = model(spec(pattern=({}, {"feed_forward": {"kind": "rwkv7_channel_mix", "d_ff": 10}})))
    state = new_state(built, 2, 9)
    built(tokens(2, 9), state=state)
    assert state.feed_forwards[0] is None
    assert state.feed_forwards[1].inputs_BJC.shape == (2, 1, 32)
