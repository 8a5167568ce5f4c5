import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.model import cross_entropy
from llm_core.model.cross_entropy import linear_cross_entropy
from llm_core.tokens.loader import IGNORED

N, D, V = 21, 6, 11


def case(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, dtype=dtype, generator=generator) * scale
    weight = torch.randn(V, D, dtype=dtype, generator=generator)
    targets = torch.randint(0, V, (N,), generator=generator)
    targets[[0, 7, 20]] = IGNORED
    return x.requires_grad_(), weight.requires_grad_(), targets


@pytest.mark.parametrize("gradient", [False, True])
def test_the_loss_of_each_target(gradient: bool) -> None:
    x, weight, targets = case()
    with torch.set_grad_enabled(gradient):
        (objective, summed), (same, each) = (
            linear_cross_entropy(x, weight, targets, chunk=4, each=each) for each in (False, True)
        )
    assert torch.equal(each.sum(), summed)
    assert torch.equal(objective, same)
    assert (each.shape, each.requires_grad) == ((N,), False)
    kept = targets != IGNORED
    assert torch.equal(each[~kept], torch.zeros(3, dtype=each.dtype))
    torch.testing.assert_close(
        each[kept], functional.cross_entropy((x @ weight.T)[kept], targets[kept], reduction="none")
    )


def naive(
    x: Tensor, weight: Tensor, targets: Tensor, softcap: float | None, z_loss: float, clamp: float | None
) -> tuple[Tensor, Tensor]:
    """By the definition, with all logits and autograd."""
    objective, total = x.new_zeros(()), x.new_zeros(())
    for row, target in zip(x, targets.tolist(), strict=True):
        if target == IGNORED:
            continue
        logits = weight @ row
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        loss = functional.cross_entropy(logits, torch.tensor(target))
        total = total + loss
        if clamp is not None and loss > clamp:
            objective = objective + clamp
        else:
            objective = objective + loss + z_loss * torch.logsumexp(logits, 0) ** 2
    return objective, total


OPTIONS = [
    {},
    {"softcap": 3.0},
    {"z_loss": 0.01},
    {"clamp": 2.5},
    {"softcap": 5.0, "z_loss": 0.02, "clamp": 3.0},
]


@pytest.mark.parametrize("chunk", [1, 5, 7, 64])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_losses_and_gradients_are_those_of_the_definition(
    options: dict[str, float], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "CACHED_LOGITS", 2 * V)  # two rows at a time: chunks of 5 and 7 have a rest
    x, weight, targets = case()
    objective, loss = linear_cross_entropy(x, weight, targets, **options, chunk=chunk)
    (objective * 0.3).backward()
    got = objective.detach(), loss, x.grad, weight.grad
    x, weight, targets = case()
    objective, loss = naive(x, weight, targets, **{"softcap": None, "z_loss": 0.0, "clamp": None, **options})
    (objective * 0.3).backward()
    for ours, theirs in zip(got, (objective.detach(), loss.detach(), x.grad, weight.grad), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


def test_a_clamp_catches_some_tokens_of_the_case_and_not_all() -> None:
    x, weight, targets = case()
    losses = functional.cross_entropy(functional.linear(x, weight), targets, reduction="none")
    assert 0 < (losses > 2.5).sum() < N - 3


def test_torch_agrees() -> None:
    x, weight, targets = case()
    objective, loss = linear_cross_entropy(x, weight, targets, chunk=4)
    objective.backward()
    x_grad, weight_grad = x.grad, weight.grad
    x, weight, targets = case()
    whole = functional.cross_entropy(functional.linear(x, weight), targets, reduction="sum")
    whole.backward()
    assert objective == loss
    for ours, theirs in ((loss, whole.detach()), (x_grad, x.grad), (weight_grad, weight.grad)):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_nothing_to_predict(options: dict[str, float]) -> None:
    x, weight, targets = case()
    objective, loss = linear_cross_entropy(x, weight, torch.full_like(targets, IGNORED), **options, chunk=4)
    objective.backward()
    assert objective == loss == 0
    assert not x.grad.any()
    assert not weight.grad.any()


def test_ignored_and_clamped_tokens_have_no_gradient() -> None:
    x, weight, targets = case(scale=4.0)
    losses = functional.cross_entropy(functional.linear(x, weight), targets, reduction="none").detach()
    linear_cross_entropy(x, weight, targets, clamp=3.0, z_loss=0.1)[0].backward()
    dead = (targets == IGNORED) | (losses > 3.0)
    assert (x.grad[dead] == 0).all()
    assert (x.grad[~dead] != 0).any(dim=1).all()


def test_a_target_with_no_probability_left_has_a_finite_loss() -> None:
    x = torch.tensor([[300.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0]], requires_grad=True)
    _, loss = linear_cross_entropy(x, weight, torch.tensor([1]))
    torch.testing.assert_close(loss, torch.tensor(600.0))


def test_what_is_not_finite_stays_so() -> None:
    x, weight, targets = case(torch.float32)
    broken = x.detach().clone()
    broken[3, 0] = math.nan
    for clamp in (None, 3.0):
        broken.requires_grad_()
        objective, loss = linear_cross_entropy(broken, weight, targets, clamp=clamp)
        objective.backward()
        assert loss.isnan()
        assert objective.isnan()
        assert weight.grad.isnan().any()
        weight.grad = None


@pytest.mark.parametrize("wrong", [V, -1])
def test_a_target_that_is_no_id_is_an_error(wrong: int) -> None:
    x, weight, targets = case()
    targets[4] = wrong
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        linear_cross_entropy(x, weight, targets)


def test_without_gradients_the_figures_are_the_same_and_none_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, targets = case(torch.float32)
    with_gradients = linear_cross_entropy(x, weight, targets, z_loss=0.1, chunk=5)
    monkeypatch.setattr(cross_entropy, "_LinearCrossEntropy", None)
    with torch.no_grad():
        without = linear_cross_entropy(x, weight, targets, z_loss=0.1, chunk=5)
    assert [value.item() for value in without] == [value.item() for value in with_gradients]
    assert not without[0].requires_grad
    frozen = linear_cross_entropy(x.detach(), weight.detach(), targets, z_loss=0.1, chunk=5)
    assert frozen[1] == without[1]


@pytest.mark.parametrize("frozen", ["x", "weight"])
def test_a_frozen_side_has_no_gradient(frozen: str) -> None:
    x, weight, targets = case()
    linear_cross_entropy(x, weight, targets, chunk=5)[0].backward()
    whole = x.grad, weight.grad
    x, weight, targets = case()
    (x if frozen == "x" else weight).requires_grad_(False)
    linear_cross_entropy(x, weight, targets, chunk=5)[0].backward()
    for part, expected, name in zip((x.grad, weight.grad), whole, ("x", "weight"), strict=True):
        if name == frozen:
            assert part is None
        else:
            torch.testing.assert_close(part, expected, atol=0, rtol=0)


def test_autocast_multiplies_in_bf16_and_sums_in_fp32() -> None:
    x, weight, targets = case(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective, loss = linear_cross_entropy(x, weight, targets, chunk=5)
    objective.backward()
    got = loss, x.grad, weight.grad
    assert [value.dtype for value in got] == [torch.float32] * 3
    logits = functional.linear(x.detach().bfloat16(), weight.detach().bfloat16())
    exact = functional.cross_entropy(logits.double(), targets, reduction="sum")
    torch.testing.assert_close(loss.double(), exact, atol=1e-6, rtol=1e-6)
    x, weight, targets = case(torch.float32)
    functional.cross_entropy(functional.linear(x, weight), targets, reduction="sum").backward()
    for ours, theirs in ((got[1], x.grad), (got[2], weight.grad)):
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_chunks_add_up_in_fp32_and_not_in_bf16() -> None:
    """4,096 equal contributions to the weight's gradient, one a chunk: a sum in bf16 would stop growing at 256."""
    x, weight = torch.ones(4096, 1), torch.zeros(2, 1, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        linear_cross_entropy(x, weight, torch.zeros(4096, dtype=torch.long), chunk=1)[0].backward()
    torch.testing.assert_close(weight.grad, torch.tensor([[-2048.0], [2048.0]]))


def test_a_second_backward_pass_is_refused() -> None:
    x, weight, targets = case()
    objective, _ = linear_cross_entropy(x, weight, targets)
    objective.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one backward pass"):
        objective.backward()


def test_the_logits_are_never_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    softmax = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda z, **kwargs: rows.append(len(z)) or softmax(z, **kwargs))
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor):
                largest = max(largest, out.numel())
            return out

    x, weight, targets = case()
    with Watch():
        linear_cross_entropy(x, weight, targets, chunk=4)[0].backward()
    assert max(rows) == 4
    assert sum(rows) == N
    assert largest <= max(4 * V, N * D, V * D) < N * V


def test_a_tied_weight_learns_as_embedding_and_as_head() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(V, D, dtype=torch.float64)

        def forward(self, ids: Tensor, targets: Tensor, ours: bool) -> Tensor:
            x, weight = self.embedding(ids).sin(), self.embedding.weight
            if ours:
                return linear_cross_entropy(x, weight, targets, chunk=5)[0]
            return functional.cross_entropy(functional.linear(x, weight), targets, reduction="sum")

    torch.manual_seed(0)
    model, targets = Tied(), case()[2]
    ids = targets.clamp(min=0).flip(0)
    model(ids, targets, True).backward()
    ours, model.embedding.weight.grad = model.embedding.weight.grad, None
    model(ids, targets, False).backward()
    torch.testing.assert_close(ours, model.embedding.weight.grad, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_weights_of_targets_scale_their_gradients(softcap: float | None) -> None:
    weights = torch.linspace(-1, 1, N, dtype=torch.float64)
    x, weight, targets = case()
    objective, loss = linear_cross_entropy(x, weight, targets, softcap=softcap, chunk=4, each=True, weights_N=weights)
    (objective * 0.3).backward()
    got = objective.detach(), loss, x.grad, weight.grad
    x, weight, targets = case()
    logits = x @ weight.T if softcap is None else softcap * torch.tanh(x @ weight.T / softcap)
    losses = functional.cross_entropy(logits, targets, reduction="none", ignore_index=IGNORED)
    expected = (losses * weights).sum()
    (expected * 0.3).backward()
    for ours, theirs in zip(got, (expected.detach(), losses.detach(), x.grad, weight.grad), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)
