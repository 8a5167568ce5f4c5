import numpy as np
import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.narrowing import narrowed
from llm_core.model.build import build_model
from llm_core.model.parametrization import folded, folded_spec
from llm_core.train.optimizers.adamw.spec import AdamW
from llm_core.train.optimizers.muon.spec import Muon
from llm_core.train.parameter_groups import parameter_groups, set_schedule

VOCABULARY = 64


def spec(width, layers=2, kind="completep", **changes):
    fields = {
        "d_model": width,
        "n_layers": layers,
        "mixer": {"kind": "attention", "n_heads": width // 16},
        "feed_forward": {"kind": "swiglu", "d_ff": 2 * width},
        "init_std": 0.1,
        "parametrization": {"kind": kind, "base_width": 32, "base_layers": 2},
        **changes,
    }
    return ModelSpec(**fields)


def built(shape):
    torch.manual_seed(3)
    return build_model(shape, VOCABULARY)


def batch(seed=0):
    return torch.randint(0, VOCABULARY, (4, 17), generator=torch.Generator().manual_seed(seed))


def test_the_base_is_what_it_is_without_a_parametrisation():
    with_one, without = built(spec(32)), built(spec(32, parametrization=None))
    assert all(torch.equal(a, b) for a, b in zip(with_one.parameters(), without.parameters(), strict=True))
    assert torch.equal(with_one(batch()), without(batch()))
    groups = [parameter_groups(model, AdamW(), "AdamW") for model in (with_one, without)]
    assert [group["lr_ratio"] for group in groups[0]] == [group["lr_ratio"] for group in groups[1]]


TRANSFERS = {"tie_embeddings": False, "init": {"residual_writers": "zero", "head_std": 0.001}}
"""Without what is random at the start and fades with the size: the sums of random branches and logits."""


def coordinates(width, layers, optimizer, steps=4, **changes):
    """RMS of the last hidden state and of the logits, and of their change over some steps."""
    model = built(spec(width, layers, **changes))
    steps_of = optimizer.build(model, torch.device("cpu"), "fp32")
    seen = {}
    model.norm.register_forward_pre_hook(lambda _, inputs: seen.update(hidden=inputs[0].detach()))
    found = []
    tokens = batch()
    for _ in range(steps + 1):
        logits = model(tokens).detach()
        found.append((seen["hidden"], logits))
        model(tokens[:, :-1], tokens[:, 1:].contiguous()).objective.div(64).backward()
        set_schedule(steps_of, optimizer.lr, 1.0)
        steps_of.step()
        steps_of.zero_grad()
    size = [float(value.square().mean().sqrt()) for value in found[-1]]
    change = [float((last - first).square().mean().sqrt()) for first, last in zip(found[0], found[-1], strict=True)]
    return [*size, *change]


def slopes(shapes, optimizer, **changes):
    """Of the logarithm of each coordinate over that of the width or depth."""
    rows = np.log([coordinates(width, layers, optimizer, **{**TRANSFERS, **changes}) for width, layers in shapes])
    place = np.log([width * layers for width, layers in shapes])
    return np.polyfit(place, rows, 1)[0]


@pytest.mark.parametrize("optimizer", [AdamW(lr=3e-3, weight_decay=0.0), Muon(lr=1e-2, adjust="original")])
def test_coordinates_do_not_depend_on_the_width(optimizer):
    found = slopes([(32, 2), (64, 2), (128, 2), (256, 2)], optimizer)
    assert np.abs(found).max() < 0.1


def test_coordinates_do_not_depend_on_the_depth():
    found = slopes([(32, 2), (32, 4), (32, 8), (32, 16)], AdamW(lr=3e-3, weight_decay=0.0))
    assert np.abs(found).max() < 0.1


def test_without_a_parametrisation_they_do():
    found = slopes([(32, 2), (64, 2), (128, 2), (256, 2)], AdamW(lr=3e-3, weight_decay=0.0), parametrization=None)
    assert found[3] > 0.3


def test_matrices_alone_have_other_rates():
    groups = parameter_groups(built(spec(128, 8)), AdamW(lr=1e-3, weight_decay=0.1, eps=1e-8), "AdamW")
    found = {group["kind"]: group for group in groups}
    assert found["matrices"]["lr_ratio"] == pytest.approx(1 / 4)
    assert found["matrices"]["weight_decay"] == pytest.approx(0.4)  # the decay of a step stays
    assert found["matrices"]["eps"] == pytest.approx(1e-8 / 16)
    assert {found[kind]["lr_ratio"] for kind in ("embeddings", "vectors")} == {1.0}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_embeddings": False, "bias": True, "norm": "layernorm"},
        {"norm_placement": "sandwich", "logit_softcap": 5.0},
        {"norm_placement": "post"},
        {"kind": "mup", "feed_forward": {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 32}},
    ],
)
def test_folding_it_into_the_weights_changes_nothing(changes):
    model = built(spec(64, 4, **changes)).eval()
    expected = model(batch())
    plain = folded(model)
    assert plain.spec == folded_spec(spec(64, 4, **changes))
    assert torch.allclose(plain(batch()), expected, atol=1e-6)
    again = build_model(plain.spec, VOCABULARY).eval()
    again.load_state_dict(plain.state_dict())
    assert torch.allclose(again(batch()), expected, atol=1e-6)


def test_what_cannot_be_folded_is_refused():
    with pytest.raises(PedigreeError, match="the head is tied, and the norm has no gain"):
        folded(built(spec(64, norm={"kind": "rmsnorm", "gain": False})))


def test_smaller_models_keep_the_base():
    assert narrowed(spec(128, 8), 32).parametrization == spec(128, 8).parametrization
