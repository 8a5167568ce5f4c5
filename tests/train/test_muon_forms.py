"""The newer forms of Muon, each against a reference of a few lines."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from llm_core.experiment.base import canonical
from llm_core.model.fused import FusedLinear
from llm_core.train.optimizers.muon.optimizer import muon
from llm_core.train.optimizers.muon.orthogonalization import POLAR_EXPRESS, orthogonalised, polynomials
from llm_core.train.parameter_groups import set_schedule
from tests.train.ranks import on_ranks
from tests.train.runs import checkpoint_tensors, run, trainer_spec, weights
from tests.train.test_muon import Model, spec, stepped
from tests.train.test_ranks import StopAfter, go_on, rewritten

FORMS = {
    "orthogonalization": "polar_express",
    "equal_rows": True,
    "neuron_beta2": 0.9,
    "cautious_weight_decay": True,
    "lowest_momentum": 0.8,
    "weight_decay_schedule": "with_rate",
}
EXACT = {"orthogonalization": "polar_express", "steps": 14}
"""Singular values are 1 to rounding."""


def best_quintic(low, high):
    """The odd polynomial of degree 5 that is nearest to 1 in [low, high], by Remez's exchange."""
    inner = (3 * low + high) / 4, (low + 3 * high) / 4
    for _ in range(60):
        x = np.array([low, *inner, high])
        a, b, c, _ = np.linalg.solve(np.stack([x, x**3, x**5, [1, -1, 1, -1]], axis=1), np.ones(4))
        root = math.sqrt(9 * b * b - 20 * a * c)
        inner = math.sqrt((-3 * b - root) / (10 * c)), math.sqrt((-3 * b + root) / (10 * c))
    return np.array([a, b, c])


def test_the_polynomials_of_polar_express_are_the_best_ones():
    """Greedily, from the interval 0.001 to 1 (Amsel et al., 2025, algorithm 1, with a cushion against rounding)."""
    low, high, cushion = 1e-3, 1.0, 0.02407327424182761
    for found in POLAR_EXPRESS[:6]:  # then the interval is too short for the exchange in double precision
        best = best_quintic(max(low, cushion * high), high)
        ends = [best @ [x, x**3, x**5] for x in (low, high)]
        best = best * 2 / sum(ends)
        assert found == pytest.approx(best, rel=1e-9)
        low = best @ [low, low**3, low**5]
        high = 2 - low
    assert low > 0.998
    assert POLAR_EXPRESS[-1] == (1.875, -1.25, 0.375)  # the limit


@pytest.mark.parametrize(
    ("dtype", "steps", "bound"),
    [(torch.float32, 5, 0.16), (torch.float32, 6, 0.006), (torch.float32, 10, 1e-5), (torch.bfloat16, 5, 0.17)],
)
def test_polar_express_brings_singular_values_nearer_to_one(dtype, steps, bound):
    torch.manual_seed(0)
    u, s, vh = torch.linalg.svd(torch.randn(2, 24, 40), full_matrices=False)
    spread = torch.logspace(-2.5, 0, s.shape[-1])
    spread = spread / spread.norm()  # of all of them: 0.0017 to 0.5
    found = orthogonalised(((u * spread) @ vh).to(dtype), polynomials("polar_express", steps)).float()
    distance = (torch.linalg.svdvals(found) - 1).abs().max()
    assert distance < bound
    if dtype == torch.float32 and steps < 10:
        quintic = orthogonalised((u * spread) @ vh, polynomials("quintic", steps))
        assert distance < 0.7 * (torch.linalg.svdvals(quintic) - 1).abs().max()


def orthogonal(matrix):
    u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
    return u @ vh


class Reference:
    """One matrix, (out, in): Muon in the limit of many iterations, with the form that is tested."""

    def __init__(self, weight, lr, momentum=0.95, decay=0.0, beta2=None, cautious=False, even=False):
        self.weight, self.mean, self.square = weight.clone(), torch.zeros_like(weight), 0.0
        self.inside = 1 if weight.shape[0] >= weight.shape[1] else 0  # the shorter side
        self.lr, self.momentum, self.decay, self.beta2, self.cautious = lr, momentum, decay, beta2, cautious
        self.even = even

    def step(self, gradient):
        self.mean = self.momentum * self.mean + (1 - self.momentum) * gradient
        update = (1 - self.momentum) * gradient + self.momentum * self.mean
        if self.even:
            update = update / update.norm(dim=1, keepdim=True)
        direction = orthogonal(update)
        if self.beta2 is not None:
            self.square = self.beta2 * self.square + (1 - self.beta2) * (direction**2).mean(
                dim=self.inside, keepdim=True
            )
            direction = direction / self.square.sqrt()
            size = 0.2 * math.sqrt(direction.numel()) / direction.norm()  # NorMuon, algorithm 1
        else:
            size = 0.2 * math.sqrt(max(direction.shape))
        shrinking = (direction * self.weight > 0) if self.cautious else 1
        self.weight = self.weight - self.lr * self.decay * shrinking * self.weight - self.lr * size * direction


@pytest.mark.parametrize(
    ("settings", "reference"),
    [
        ({}, {}),
        ({"neuron_beta2": 0.7}, {"beta2": 0.7}),
        ({"equal_rows": True}, {"even": True}),
        ({"cautious_weight_decay": True, "weight_decay": 5.0}, {"cautious": True, "decay": 5.0}),
        (
            {"neuron_beta2": 0.7, "equal_rows": True, "cautious_weight_decay": True, "weight_decay": 5.0},
            {"beta2": 0.7, "even": True, "cautious": True, "decay": 5.0},
        ),
    ],
)
def test_forms_move_matrices_as_their_references_do(settings, reference):
    """A linear map, one that fuses two maps, and experts, whose outputs are their last dimension."""
    torch.manual_seed(0)
    model = nn.Module()
    model.plain, model.joined = nn.Linear(4, 9, bias=False), FusedLinear(5, (8, 3), bias=False)
    model.experts = nn.Parameter(torch.randn(2, 4, 7))
    optimizer = muon(spec(**{"weight_decay": 0.0, **EXACT, **settings}), model, "fp32")

    def matrices(of):
        plain, joined, experts = of(model.plain.weight), of(model.joined.weight), of(model.experts)
        return [plain, joined[:8], joined[8:], *(expert.T for expert in experts)]

    references = [Reference(weight, 0.02, **reference) for weight in matrices(lambda p: p.detach())]
    for _ in range(3):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter) * torch.rand_like(parameter)
        for one, gradient in zip(references, matrices(lambda p: p.grad), strict=True):
            one.step(gradient)
        optimizer.step()
    for weight, one in zip(matrices(lambda p: p.detach()), references, strict=True):
        torch.testing.assert_close(weight, one.weight, atol=2e-5, rtol=0)


def test_a_gradient_of_zeros_moves_nothing():
    linear = nn.Linear(4, 3, bias=False)
    linear.weight.grad = torch.zeros(3, 4)
    before = linear.weight.detach().clone()
    muon(spec(**FORMS, weight_decay=0.0), nn.Sequential(linear), "fp32").step()
    assert torch.equal(linear.weight, before)


def test_momentum_follows_the_schedule():
    """A step with the momentum of a quarter of the rate is that of an optimiser with this momentum."""
    models = [Model(), Model()]
    falling = muon(spec(momentum=0.96, lowest_momentum=0.8), models[0], "fp32")
    fixed = muon(spec(momentum=0.84), models[1], "fp32")
    for optimizer in (falling, fixed):
        set_schedule(optimizer, 0.005, 0.25)
        assert optimizer.param_groups[0]["momentum"] == pytest.approx(0.84)
    for one, other in zip(*(stepped(*pair, 3) for pair in zip(models, (falling, fixed), strict=True)), strict=True):
        torch.testing.assert_close(one, other)


def test_the_state_has_one_number_per_row_or_column_beside_its_moments():
    """``moments`` leaves them out."""
    model = Model()
    settings = spec(**FORMS)
    optimizer = muon(settings, model, "fp32")
    stepped(model, optimizer, 1)
    sizes = [value.numel() for state in optimizer.state.values() for value in state.values() if value.ndim]
    matrices = [p for group in optimizer.param_groups if group["rule"] == "Muon" for p in group["params"]]
    lines = 3 * (8 + 8) + 3 * 12 + 2 * 8  # maps of 8 to 7 and 5, of 12 to 8, and two experts of 8 to 6
    parameters = sum(p.numel() for p in model.parameters())
    assert sum(sizes) == settings.moments(parameters, sum(p.numel() for p in matrices)) + lines


def test_a_bad_step_changes_nothing():
    model = Model()
    optimizer = muon(spec(**FORMS), model, "bf16")
    stepped(model, optimizer, 1)
    before = [p.detach().clone() for p in model.parameters()]
    states = [{name: value.clone() for name, value in state.items()} for state in optimizer.state.values()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert all(map(torch.equal, model.parameters(), before))
    for state, old in zip(optimizer.state.values(), states, strict=True):
        assert all(torch.equal(state[name], old[name]) for name in old)


@pytest.fixture
def training(tmp_path):
    schedule = {"kind": "wsd", "warmup_steps": 2, "cooldown_steps": 3}
    settings = {"optimizer": {"kind": "muon", "lr": 0.01, **FORMS}, "schedule": schedule}

    def made(name, **changes):
        found = trainer_spec(tmp_path, work=tmp_path / name, steps=9, training=settings, micro_batch=1, **changes)
        found.work.mkdir()
        return found

    return made


def test_a_run_with_all_forms_goes_on_bitwise(training):
    straight, stopped = training("straight"), training("stopped")
    run(straight)
    run(stopped, StopAfter(4))
    run(stopped)
    assert weights(stopped) == weights(straight)


def test_other_numbers_of_ranks_read_the_state(training):
    """The mean squares are whole on every rank, also where FSDP2 shards the matrices."""
    sharded, alone = training("sharded", parallel="fsdp2"), training("alone")
    assert on_ranks(4, go_on, sharded, 4) == [4] * 4
    before = checkpoint_tensors(sharded, 4)
    assert any(name.endswith("mean_squares") for name in before)
    assert on_ranks(2, rewritten, sharded, 4)[0] is None
    after = checkpoint_tensors(sharded, 4)
    assert all(torch.equal(torch.as_tensor(before[name]), torch.as_tensor(after[name])) for name in before)
    run(sharded.model_copy(update={"parallel": "ddp"}))
    run(alone)
    ours, theirs = checkpoint_tensors(sharded, 9), checkpoint_tensors(alone, 9)
    assert ours.keys() == theirs.keys()
    assert all((ours[name] - theirs[name]).abs().max() < 2e-3 for name in ours)


def test_forms_change_no_identity_where_they_are_off():
    assert not FORMS.keys() & canonical(spec()).keys()
    assert FORMS.items() <= canonical(spec(**FORMS)).items()
