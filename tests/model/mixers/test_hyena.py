import math

import pytest
import torch
from torch import Tensor

from llm_core.experiment.component import over
from llm_core.model.build import build_model
from llm_core.model.generate import Sampling, generate
from llm_core.model.mixers.hyena.module import Hyena
from llm_core.model.state import new_state
from llm_core.train.parameter_groups import parameters_by_kind
from tests.model.shapes import model, named, spec, tokens

MIXER = {"kind": "hyena", "max_length": 40, "bands": 3, "filter_width": 6, "filter_layers": 2}


def written_out(mixer: Hyena) -> Tensor:
    """The taps (40, channels), lag by lag and channel by channel, after the formulas; without the skip connection."""
    filters, channels = mixer.filters, mixer.filters.taps.shape[0]
    taps = torch.zeros(40, channels)
    for lag in range(40):
        share = lag / 40
        turns = [2 * math.pi * share * turn for turn in (1, 2, 3)]
        x = torch.tensor([share, *map(math.sin, turns), *map(math.cos, turns)])
        for layer in filters.layers:
            x = torch.sin(filters.frequency * (layer.weight @ x + layer.bias))
        for channel in range(channels):
            place = channel % 32 / 31
            rate = (1 - place) * math.log(100) / 1.5 + place * math.log(100) / 0.3
            taps[lag, channel] = (filters.taps[channel] @ x) * (math.exp(-rate * share) + 0.05)
    return taps


@pytest.mark.parametrize("order", [2, 3])
def test_matches_a_naive_reference(order: int) -> None:
    built = model(spec(mixer={**MIXER, "order": order}, n_layers=1))
    mixer, x = built.blocks[0].mixer, torch.randn(2, 20, 32, generator=torch.Generator().manual_seed(1))
    projected = x @ mixer.input.weight.T
    short = torch.zeros_like(projected)
    for t in range(20):
        for back in range(min(3, t + 1)):
            short[:, t] += projected[:, t - back] * mixer.convolution.weight[:, 2 - back]
    z, *gates = short.split(32, dim=-1)
    taps = written_out(mixer).split(32, dim=-1)
    skips = mixer.filters.skip.split(32)
    for number in range(order - 1):
        gated = z * gates[number]
        z = gated * skips[number]
        for t in range(20):
            for s in range(t + 1):
                z[:, t] += gated[:, s] * taps[number][t - s]
    found, _ = mixer(x, None, built.context(torch.zeros(2, 20, dtype=torch.long), None, None))
    torch.testing.assert_close(found, (z * gates[-1]) @ mixer.output.weight.T, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_state_holds_the_gated_inputs_and_the_taps() -> None:
    built = model(spec(mixer={**MIXER, "order": 3}, n_layers=1)).bfloat16()
    whole = new_state(built, 2, 30)
    built(tokens(2, 7), state=whole)
    (state,) = whole.layers
    assert state.gated_BLF.shape == (2, 30, 64)
    assert state.inputs_BJC.shape == (2, 2, 128)
    assert state.taps_LF.shape == (30, 64)
    assert state.gated_BLF.dtype == state.inputs_BJC.dtype == state.taps_LF.dtype == torch.bfloat16


@torch.inference_mode()
def test_bf16_reads_about_the_same_with_a_state() -> None:
    """Taps are rounded in it, as tokens are."""
    built, x = model(spec(mixer=MIXER, n_layers=1)).bfloat16(), tokens(2, 30)
    mixer, inputs = built.blocks[0].mixer, torch.randn(2, 30, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    whole, _ = mixer(inputs, None, built.context(x, None, None))
    state, parts = new_state(built, 2, 30), []
    for t in range(30):
        parts.append(mixer(inputs[:, t : t + 1], None, built.context(x[:, :1], None, state))[0])
        state.advance(1)
    size = whole.float().abs().max().item()
    torch.testing.assert_close(torch.cat(parts, dim=1).float(), whole.float(), atol=0.02 * size, rtol=0)


def test_more_tokens_than_taps_are_refused() -> None:
    built = model(spec(mixer=MIXER))
    assert built(tokens(1, 40)).shape[1] == 40
    with pytest.raises(ValueError, match=r"41 tokens are needed, .* for 40 at most \(mixer\.max_length\)"):
        built(tokens(1, 41))
    with pytest.raises(ValueError, match="41 tokens are needed"):
        generate(built, [[1] * 31], Sampling(10))
    with pytest.raises(ValueError, match="the state holds 4 tokens; 5 are needed"), torch.inference_mode():
        built(tokens(1, 5), state=new_state(built, 1, 4))


@pytest.mark.parametrize("order", [2, 3])
def test_fresh_filters_pass_about_what_they_get(order: int) -> None:
    mixer = {"kind": "hyena", "max_length": 512, "order": order}
    shaped = spec(mixer=mixer, n_layers=1, d_model=500)
    fresh = build_model(shaped, 10, generator=torch.Generator().manual_seed(0)).blocks[0].mixer.filters
    assert (fresh.frequency == 14).all()
    assert fresh.skip.std().item() == pytest.approx(1, abs=0.1)
    with torch.no_grad():
        fresh.skip.zero_()
        energy = fresh(512).square().sum(0)
    assert energy.mean().item() == pytest.approx(1, abs=0.25)
    # Fast channels as slow ones, in each filter.
    slow, fast = energy.view(order - 1, 2, 250).mean((0, 2)).tolist()
    assert slow == pytest.approx(fast, rel=0.3)


def test_optimisers_of_matrices_and_weight_decay_leave_filters_alone() -> None:
    built = model(named("hyena"))
    inside = {id(parameter) for parameter in built.blocks[0].mixer.filters.parameters()}
    kinds = parameters_by_kind(built)
    assert inside <= {id(parameter) for parameter in kinds["vectors"]}
    assert not inside & {id(parameter) for parameter in kinds["matrices"]}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"fast_decay": 2.0}, r"fast_decay 2\.0 is above slow_decay 1\.5: swap them"),
        ({"order": 1}, "hyena: order: Input should be greater than or equal to 2"),
        ({"kernel": 1}, "hyena: kernel: Input should be greater than or equal to 2"),
        ({"floor": -0.1}, "hyena: floor: Input should be greater than or equal to 0"),
        ({"window": 8}, "hyena: window: there is no such key"),
    ],
)
def test_contradictions(changes: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        spec(**over({"mixer": MIXER}, {"mixer": changes}))
