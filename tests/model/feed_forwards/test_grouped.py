"""The layout that the kernel of a GPU wants, with a kernel that insists on it and leaves rubbish behind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from llm_core.model.feed_forwards.moe import grouped
from llm_core.model.feed_forwards.moe import module as moe
from llm_core.model.feed_forwards.moe.grouped import MULTIPLE, laid_out
from tests.model.shapes import model, named, tokens

Product = Callable[..., Tensor]


@pytest.mark.parametrize(
    "counts", [[3, 0, 8, 0], [0, 0, 0, 0], [0, 0, 0, 5], [16, 1, 7, 9], [1, 1, 1, 1], [8, 8, 8, 8]]
)
def test_every_group_begins_and_ends_at_a_multiple_and_has_rows(counts: list[int]) -> None:
    counts_X = torch.tensor(counts)
    groups_A = torch.repeat_interleave(torch.arange(len(counts)), counts_X)
    places_A, ends_X, rows = laid_out(groups_A, counts_X, aligned=True)
    ends = ends_X.tolist()
    starts = [0, *ends[:-1]]
    assert ends_X.dtype == torch.int32
    assert all(end % MULTIPLE == 0 and end > start for start, end in zip(starts, ends, strict=True))
    assert ends[-1] < rows
    assert rows % MULTIPLE == 0
    assert len(places_A.unique()) == len(groups_A)
    inside = [starts[group] <= place < ends[group] for group, place in zip(groups_A, places_A, strict=True)]
    assert all(inside)


def test_the_number_of_rows_does_not_depend_on_the_counts() -> None:
    chosen = [torch.zeros(24, dtype=torch.int64), torch.arange(24) // 4]
    rows = {laid_out(groups_A, groups_A.bincount(minlength=6), aligned=True).rows for groups_A in chosen}
    assert len(rows) == 1


def strict(product: Product) -> Product:
    """A kernel that wants what a GPU's does: it sees no empty group, and what is in no group is not a number."""

    def multiplied(x_RI: Tensor, weight_XIO: Tensor, *, offs: Tensor) -> Tensor:
        sizes = offs.diff(prepend=offs.new_zeros(1))
        assert bool((sizes > 0).all() & (sizes % MULTIPLE == 0).all())
        made: Tensor = _Strict.apply(x_RI, weight_XIO, offs)
        return made

    return multiplied


class _Strict(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_RI: Tensor, weight_XIO: Tensor, offs: Tensor) -> Tensor:
        ctx.save_for_backward(x_RI, weight_XIO, offs)
        made = grouped._looped(x_RI, weight_XIO, offs)
        made[int(offs[-1]) :] = torch.nan
        return made

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        x_RI, weight_XIO, offs = ctx.saved_tensors
        of_x, of_weight = grouped._gradients(upstream, x_RI, weight_XIO, offs)
        of_x[int(offs[-1]) :] = torch.nan
        return of_x, of_weight, None


@pytest.mark.parametrize("biased", [False, True], ids=["all experts busy", "experts without a token"])
def test_experts_in_one_kernel_are_those_of_the_loop(monkeypatch: pytest.MonkeyPatch, biased: bool) -> None:
    """Loss and all gradients; also where tokens choose two experts of five."""
    x, y = tokens(2, 16), tokens(2, 16, seed=1)
    results = []
    for kernel in (False, True):
        built = model(named("moe"))
        if biased:
            for block in built.blocks:
                block.feed_forward._choose = lambda scores_NX: (
                    scores_NX.new_tensor([1, 3], dtype=torch.int64).expand(len(scores_NX), 2),
                    scores_NX[:, [1, 3]],
                )
        monkeypatch.setattr(moe, "has_kernel", lambda device, dtype, kernel=kernel: kernel)
        monkeypatch.setattr(grouped.functional, "grouped_mm", strict(grouped._looped))
        built(x, y).objective.backward()
        results.append([built(x, y).objective.detach(), *(parameter.grad for parameter in built.parameters())])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)
    if biased:
        assert not results[1][-1].isnan().any()


def test_the_kernel_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moe, "has_kernel", lambda device, dtype: True)
    monkeypatch.setattr(grouped.functional, "grouped_mm", lambda *_, **__: pytest.fail("the kernel was called"))
    built = model(named("moe_after_dense"))
    built.loop_experts()
    built(tokens(2, 8), tokens(2, 8, seed=1))


@pytest.mark.gpu
def test_the_kernel_of_a_gpu_gives_what_the_loop_gives() -> None:
    """Results and gradients in bf16; the second expert gets no token."""
    torch.manual_seed(0)
    counts_X = torch.tensor([19, 0, 8, 5], device="cuda")
    layout = laid_out(torch.repeat_interleave(torch.arange(4, device="cuda"), counts_X), counts_X, aligned=True)
    x_AI = torch.randn(32, 64, device="cuda").bfloat16()
    weight_XIO = torch.randn(4, 64, 32, device="cuda").bfloat16()
    found = []
    for kernel in (True, False):
        x, weight = x_AI.clone().requires_grad_(), weight_XIO.clone().requires_grad_()
        x_RI = x.new_zeros(layout.rows, 64).index_copy(0, layout.places_A, x)
        y_AO = grouped.grouped_product(x_RI, weight, layout.ends_X, kernel)[layout.places_A]
        y_AO.float().square().sum().backward()
        assert x.grad is not None
        assert weight.grad is not None
        assert not weight.grad[1].any()
        found.append((y_AO.detach().float(), x.grad.float(), weight.grad.float()))
    for ours, expected in zip(*found, strict=True):
        assert (ours - expected).norm() <= 2e-2 * expected.norm()
