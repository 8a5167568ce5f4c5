import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from llm_core.model.fused import Fused, FusedLinear
from llm_core.train.optimizers.muon import optimizer as module
from llm_core.train.optimizers.muon.optimizer import Muon, muon
from llm_core.train.optimizers.muon.orthogonalization import orthogonalised, polynomials
from llm_core.train.optimizers.muon.spec import Muon as MuonSpec
from llm_core.train.parameter_groups import describe_groups
from tests.train.ranks import on_ranks
from tests.train.runs import run, trainer_spec

CPU = torch.device("cpu")
QUINTIC = polynomials("quintic", 5)


def spec(**changes) -> MuonSpec:
    return MuonSpec(lr=0.02, **changes)


class Model(nn.Module):
    """Three blocks, then experts; ``first`` builds the first map of a block."""

    def __init__(self, first=lambda inputs: FusedLinear(inputs, (7, 5), bias=True)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 8)
        self.blocks = nn.ModuleList(nn.Sequential(first(8), nn.RMSNorm(12), nn.Linear(12, 8)) for _ in range(3))
        self.experts = nn.Parameter(torch.randn(2, 8, 6))

    def forward(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        x = self.embedding(torch.randint(11, (5,), generator=generator))
        for block in self.blocks:
            x = x + block(x)
        return (x @ self.experts).square().mean()


def stepped(model: Model, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> list[Tensor]:
    for step in range(first, first + steps):
        optimizer.zero_grad()
        model(step).backward()
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_newton_schulz_brings_singular_values_near_one():
    torch.manual_seed(1)
    for shape in [(3, 16, 40), (3, 40, 16), (1, 24, 24)]:
        u, s, vh = torch.linalg.svd(torch.randn(shape), full_matrices=False)
        spread = (u * torch.linspace(0.05, 1, s.shape[-1])) @ vh
        assert torch.linalg.svdvals(orthogonalised(spread, QUINTIC)) == pytest.approx(torch.ones_like(s), abs=0.35)
        # Singular vectors do not change: a well-conditioned matrix becomes about U·Vᵀ.
        good = (u * torch.linspace(0.7, 1, s.shape[-1])) @ vh
        cosine = nn.functional.cosine_similarity(orthogonalised(good, QUINTIC).flatten(1), (u @ vh).flatten(1))
        assert (cosine > 0.98).all()
    assert not orthogonalised(torch.zeros(2, 4, 5), QUINTIC).any()


def in_fp32(updates, coefficients, steps, epsilon):
    """The textbook iteration for one matrix; torch's own is in bf16."""
    a, b, c = coefficients
    x = (updates.T if updates.shape[0] > updates.shape[1] else updates) / updates.norm()
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if updates.shape[0] > updates.shape[1] else x


@pytest.mark.parametrize("adjust", ["match_rms_adamw", "original"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("precise", [True, False])
def test_matrices_move_as_with_torchs_muon_and_the_rest_as_with_adamw(monkeypatch, adjust, nesterov, precise):
    if precise:
        monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", in_fp32)
    ours, theirs = (Model(lambda inputs: nn.Linear(inputs, 12)) for _ in range(2))
    theirs.experts = None
    options = {"adjust": adjust, "nesterov": nesterov, "momentum": 0.9, "steps": 4, "lr_ratio": 0.5}
    optimizer = muon(spec(**options, weight_decay=0.3), ours, "fp32" if precise else "bf16")
    blocks = dict(theirs.blocks.named_parameters())
    matrices = [p for p in blocks.values() if p.ndim == 2]
    reference = torch.optim.Muon(
        matrices, lr=0.01, weight_decay=0.3, momentum=0.9, nesterov=nesterov, ns_steps=4, adjust_lr_fn=adjust
    )
    vectors = [p for p in blocks.values() if p.ndim < 2]
    adamw = torch.optim.AdamW(
        [{"params": [theirs.embedding.weight], "weight_decay": 0.3}, {"params": vectors, "weight_decay": 0.0}],
        lr=0.02,
        betas=(0.9, 0.95),
        eps=1e-8,
        fused=True,
    )
    for step in range(6):
        optimizer.zero_grad()
        ours(step).backward()
        named = dict(ours.named_parameters())
        for name, parameter in theirs.named_parameters():
            parameter.grad = named[name].grad.clone()
        before = {name: parameter.detach().clone() for name, parameter in theirs.named_parameters()}
        for one in (optimizer, reference, adamw):
            one.step()
        for name, parameter in theirs.named_parameters():
            largest = float((parameter - before[name]).detach().abs().max())
            torch.testing.assert_close(named[name], parameter, rtol=0, atol=largest * (1e-4 if precise else 0.05))
            parameter.data.copy_(named[name].data)  # bf16 errors do not accumulate


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp8", torch.bfloat16)]
)
def test_products_are_of_the_runs_precision(monkeypatch, precision, dtype):
    """On CPUs with only AVX2, products in bf16 take four times as long as a whole step in fp32."""
    seen = set()

    def noted(matrices, iterations):
        seen.add(matrices.dtype)
        return orthogonalised(matrices, iterations)

    monkeypatch.setattr(module, "orthogonalised", noted)
    model = Model()
    stepped(model, spec().build(model, CPU, precision), 1)
    assert seen == {dtype}


def test_a_runs_optimizer_has_the_runs_precision(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(module, "orthogonalised", lambda matrices, iterations: given.append(matrices.dtype) or matrices)
    for precision in ("fp32", "bf16"):
        run(trainer_spec(tmp_path / precision, 1, {"precision": precision, "optimizer": spec()}))
    assert list(dict.fromkeys(given)) == [torch.float32, torch.bfloat16]


def test_experts_are_matrices_of_their_own_and_their_outputs_are_the_last_dimension():
    stacked = nn.Module()
    stacked.experts = nn.Parameter(torch.randn(3, 4, 9))
    stacked.experts.grad = torch.randn(3, 4, 9)
    apart = nn.Sequential(*(nn.Linear(4, 9, bias=False) for _ in range(3)))
    for linear, expert, gradient in zip(apart, stacked.experts.data, stacked.experts.grad, strict=True):
        linear.weight.data.copy_(expert.T)
        linear.weight.grad = gradient.T.clone()
    options = spec(adjust="original")
    for model in (stacked, apart):
        muon(options, model, "bf16").step()
    for linear, expert in zip(apart, stacked.experts, strict=True):
        torch.testing.assert_close(linear.weight.T, expert, atol=1e-3, rtol=0)


def test_maps_that_are_one_product_are_matrices_of_their_own():
    torch.manual_seed(0)
    parts = (6, 2, 2)
    fused = FusedLinear(5, parts, bias=False)
    fused.weight.grad = torch.randn_like(fused.weight)
    apart = nn.ModuleList(nn.Linear(5, rows, bias=False) for rows in parts)
    slices = zip(apart, fused.weight.detach().split(parts), fused.weight.grad.split(parts), strict=True)
    for linear, weight, gradient in slices:
        linear.weight.data.copy_(weight)
        linear.weight.grad = gradient.clone()
    for model in (nn.Sequential(fused), apart):
        muon(spec(), model, "bf16").step()
    torch.testing.assert_close(fused.weight, torch.cat([linear.weight for linear in apart]), atol=1e-3, rtol=0)


def test_experts_have_several_maps_side_by_side():
    class Experts(nn.Module, Fused):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.gate_up = nn.Parameter(torch.randn(2, 5, 14))
            self.gate_up.grad = torch.randn(2, 5, 14)
            self.fused = {"gate_up": (7, 7)}

    model = Experts()
    pairs = zip(model.gate_up.chunk(2, dim=-1), model.gate_up.grad.chunk(2, dim=-1), strict=True)
    apart = nn.ParameterList()
    for weight, gradient in pairs:
        apart.append(nn.Parameter(weight.detach().clone()))
        apart[-1].grad = gradient.clone()
    for one in (model, apart):
        muon(spec(), one, "bf16").step()
    torch.testing.assert_close(model.gate_up, torch.cat(list(apart), dim=-1), atol=1e-3, rtol=0)


def test_steps_are_as_large_as_adamws():
    torch.manual_seed(0)
    for shape in [(64, 64), (64, 256), (256, 64)]:
        linear = nn.Linear(*shape, bias=False)
        before = linear.weight.detach().clone()
        linear.weight.grad = torch.randn_like(linear.weight)
        muon(spec(weight_decay=0.0), nn.Sequential(linear), "bf16").step()
        rms = (linear.weight - before).square().mean().sqrt() / 0.02
        assert 0.1 < rms < 0.3  # AdamW's updates have 0.2 to 0.4 in practice (Liu et al., 2025)


def test_a_batch_is_cut_where_memory_ends(monkeypatch):
    whole, cut = Model(), Model()
    expected = stepped(whole, muon(spec(), whole, "bf16"), 3)
    monkeypatch.setattr(module, "MAX_BATCH_NUMBERS", 8 * 12 * 2)
    for one, other in zip(stepped(cut, muon(spec(), cut, "bf16"), 3), expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_a_step_with_found_inf_changes_nothing_and_the_next_goes_on():
    plain, guarded = Model(), Model()
    optimizer = muon(spec(), plain, "bf16")
    stepped(plain, optimizer, 2)
    expected = stepped(plain, optimizer, 2, first=3)

    optimizer = muon(spec(), guarded, "bf16")
    assert isinstance(optimizer, Muon)
    stepped(guarded, optimizer, 1)
    optimizer.found_inf = torch.zeros(())
    before = stepped(guarded, optimizer, 1, first=1)
    moments = [{k: v.clone() for k, v in state.items()} for state in optimizer.state.values()]
    for parameter in guarded.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    assert all(map(torch.equal, guarded.parameters(), before))
    for state, earlier in zip(optimizer.state.values(), moments, strict=True):
        assert all(torch.equal(state[key], earlier[key]) for key in earlier)
    optimizer.found_inf = torch.zeros(())
    assert all(map(torch.equal, stepped(guarded, optimizer, 2, first=3), expected))


def test_the_state_survives_saving_and_loading():
    straight, parts = Model(), Model()
    expected = stepped(straight, muon(spec(), straight, "bf16"), 5)
    optimizer = muon(spec(), parts, "bf16")
    stepped(parts, optimizer, 2)
    again = muon(spec(), parts, "bf16")
    again.load_state_dict(optimizer.state_dict())
    assert all(map(torch.equal, stepped(parts, again, 3, first=2), expected))


def test_the_groups_can_be_read():
    moments = "betas 0.9/0.95, eps 1e-08"
    assert describe_groups(muon(spec(lr_ratio=3), Model(), "bf16")) == [
        "matrices: 7 tensors, 672 parameters, Muon, lr 0.06, weight decay 0.1, momentum 0.95",
        f"embeddings: 1 tensors, 88 parameters, AdamW, lr 0.02, weight decay 0.1, {moments}",
        f"vectors: 9 tensors, 96 parameters, AdamW, lr 0.02, weight decay 0, {moments}",
    ]


def updated(world, parallel) -> dict[str, list]:
    """The parameters after four steps on a rank, of which one is skipped."""
    model = Model()
    if parallel == "fsdp2":
        fully_shard(model, mesh=init_device_mesh("cpu", (world.size,)))
    optimizer = muon(spec(), model, "bf16")
    for step in range(4):
        optimizer.zero_grad()
        model(step).backward()
        optimizer.found_inf = torch.tensor(float(step == 2))
        optimizer.step()
    whole = {n: p.full_tensor() if hasattr(p, "full_tensor") else p for n, p in model.named_parameters()}
    return {name: parameter.tolist() for name, parameter in whole.items()}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_ranks_agree_with_one(parallel):
    alone = Model()
    optimizer = muon(spec(), alone, "bf16")
    stepped(alone, optimizer, 2)
    stepped(alone, optimizer, 1, first=3)
    for found in on_ranks(2, updated, parallel):
        # Updates are at most 0.02; bf16 products depend slightly on the size of the batch of matrices.
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(torch.tensor(found[name]), parameter.detach(), atol=1e-3, rtol=0)
