import torch

from llm_core.model.state import new_state
from tests.model.shapes import model, spec, tokens

SHAPE = spec(mixer={"kind": "liv", "kernel": 3}, n_layers=1)


def test_matches_a_naive_reference() -> None:
    built, x = model(SHAPE), torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    mixer = built.blocks[0].mixer
    b, c, v = (x @ mixer.gates.weight.T).split(32, dim=-1)
    product, expected = b * v, torch.zeros(2, 6, 32)
    for t in range(6):
        for back in range(min(3, t + 1)):
            expected[:, t] += product[:, t - back] * mixer.convolution.weight[:, 2 - back]
    found, _ = mixer(x, None, built.context(torch.zeros(2, 6, dtype=torch.long), None, None))
    torch.testing.assert_close(found, (c * expected) @ mixer.output.weight.T, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_a_state_is_two_inputs_however_long_the_text() -> None:
    built = model(SHAPE)
    state = new_state(built, 2, 1000)
    built(tokens(2, 40), state=state)
    assert state.layers[0].inputs_BJC.shape == (2, 2, 32)
