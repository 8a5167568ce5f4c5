import pytest
import torch
from torch import Tensor

from llm_core.model import cpu_attention as module
from llm_core.model.cpu_attention import cpu_attention

B, H, K, T, C, E = 3, 4, 2, 11, 6, 4
SCALE = 0.4


@pytest.fixture(autouse=True, params=[(4, 2**18), (4, 1), (128, 2**18)], ids=["blocks", "rows", "whole"])
def _sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of four queries with all rows at once and row by row, and one block for everything."""
    monkeypatch.setattr(module, "QUERIES", request.param[0])
    monkeypatch.setattr(module, "CACHED_SCORES", request.param[1])


def inputs(dtype: torch.dtype = torch.float64, kv_heads: int = K) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((B, T, H, C), (B, T, kv_heads, C), (B, T, kv_heads, E))
    return [
        torch.randn(shape, generator=generator, dtype=dtype).transpose(1, 2).detach().requires_grad_()
        for shape in shapes
    ]


def naive(q: Tensor, k: Tensor, v: Tensor, dense: Tensor | None) -> Tensor:
    groups = H // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    if dense is None:
        dense = torch.ones(T, T, dtype=torch.bool).tril()
    bias = (
        torch.zeros(dense.shape, dtype=q.dtype).masked_fill(~dense, -torch.inf) if dense.dtype == torch.bool else dense
    )
    return torch.softmax(q @ k.mT * SCALE + bias, dim=-1) @ v


def causal() -> Tensor:
    return torch.ones(T, T, dtype=torch.bool).tril()


def documents() -> Tensor:
    ids = torch.tensor([[0] * 11, [0] * 3 + [1] * 8, [0, 1, 1, 1, 1, 2, 2, 3, 4, 4, 4]])
    return ((ids[:, :, None] == ids[:, None]) & causal())[:, None]


def window(width: int) -> Tensor:
    return (causal() & ~causal().tril(-width))[None, None]


def slopes() -> Tensor:
    distance = torch.arange(T, dtype=torch.float64)[:, None] - torch.arange(T, dtype=torch.float64)
    biases = -torch.tensor([0.5, 0.25, 0.1, 0.0], dtype=torch.float64)[:, None, None] * distance
    return biases.masked_fill(~documents(), -torch.inf)


MASKS = {
    "causal": (None, None),
    "documents": (documents(), None),
    "window": (window(3), 3),
    "window of one": (window(1), 1),
    "documents in a window": (documents() & window(5), 5),
    "slopes": (slopes(), None),
}


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("mask", MASKS)
def test_values_and_gradients_are_those_of_the_definition(mask: str, kv_heads: int) -> None:
    dense, width = MASKS[mask]
    ours, theirs = inputs(kv_heads=kv_heads), inputs(kv_heads=kv_heads)
    upstream = torch.randn(B, H, T, E, dtype=torch.float64)
    got, expected = cpu_attention(*ours, dense, width, SCALE), naive(*theirs, dense)
    got.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-12, rtol=1e-12)


def test_hidden_tokens_reach_nothing_exactly() -> None:
    q, k, v = inputs()
    before = cpu_attention(q, k, v, documents(), None, SCALE).detach()
    with torch.no_grad():
        k[1, :, 2] += 5
        v[1, :, 2] += 5
    after = cpu_attention(q, k, v, documents(), None, SCALE).detach()
    assert (before != after)[1, :, 2].all()
    before[1, :, 2] = after[1, :, 2]
    assert torch.equal(before, after)


def test_bf16_is_as_near_to_the_truth_as_bf16_can_be() -> None:
    exact = inputs()
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    upstream = torch.randn(B, H, T, E, dtype=torch.float64)
    expected, got = naive(*exact, documents()), cpu_attention(*rounded, documents(), None, SCALE)
    expected.backward(upstream)
    got.backward(upstream.bfloat16())
    assert got.dtype == torch.bfloat16
    pairs = [(got, expected), *((one.grad, other.grad) for one, other in zip(rounded, exact, strict=True))]
    for one, other in pairs:
        assert (one.double() - other).norm() < 0.01 * other.norm()


@pytest.mark.parametrize("_sizes", [(4, 1)], indirect=True)
def test_a_compiler_takes_it_as_it_is() -> None:
    torch.library.opcheck(module._forward, (*inputs(torch.float32), window(3), 3, SCALE, True))


def test_without_gradients_no_probabilities_are_kept() -> None:
    """Those of a long prompt would take more than all else."""
    q, k, v = inputs(torch.float32)
    with torch.no_grad():
        torch.library.opcheck(module._forward, (q, k, v, documents(), None, SCALE, False))
        mixed, kept = module._forward(q, k, v, documents(), None, SCALE, False)
    assert kept.numel() == 0
    assert torch.equal(mixed, cpu_attention(q, k, v, documents(), None, SCALE))
    sizes = []
    op = module._forward

    def spy(*arguments: object) -> tuple[Tensor, Tensor]:
        sizes.append(op(*arguments)[1].numel())
        return op(*arguments)

    module._forward = spy
    try:
        with torch.inference_mode():
            cpu_attention(q, k, v, None, None, SCALE)
        cpu_attention(q, k, v, None, None, SCALE)
    finally:
        module._forward = op
    assert sizes[0] == 0 < sizes[1]
