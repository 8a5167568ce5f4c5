import pytest
import torch
from torch import Tensor

from llm_core.model.mixers.hyena.convolution import long_convolution, numbered_runs
from llm_core.model.mixers.hyena.spec import NEAR, pairs_of_blocks

CHANNELS = 3


def drawn(length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, taps, and documents of random lengths."""
    generator = torch.Generator().manual_seed(length)
    documents = torch.randint(0, 4, (2, length), generator=generator).sort(1).values
    return (
        torch.randn(2, length, CHANNELS, generator=generator, dtype=torch.float32),
        torch.randn(length + 2, CHANNELS, generator=generator),
        documents,
    )


def written_out(x: Tensor, taps: Tensor, documents: Tensor | None) -> Tensor:
    """By the matrix of all taps, in fp64."""
    T = x.shape[1]
    lags = torch.arange(T)[:, None] - torch.arange(T)
    seen = (lags >= 0).expand(len(x), T, T)
    if documents is not None:
        seen = seen & (documents[:, :, None] == documents[:, None])
    matrix = taps.double()[lags.clamp(min=0)] * seen[..., None]
    return torch.einsum("btsc,bsc->btc", matrix, x.double())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("length", [1, NEAR, NEAR + 1, 31, 32, 33, 90])
def test_values_and_gradients_are_those_of_the_sum_over_taps(length: int, masked: bool) -> None:
    x, taps, documents = drawn(length)
    upstream = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    found = []
    for convolve in (long_convolution, written_out):
        inputs = x.clone().requires_grad_(), taps.clone().requires_grad_()
        y = convolve(*inputs, documents if masked else None)
        found.append([y.detach().float(), *torch.autograd.grad(y, inputs, upstream.to(y.dtype))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=3e-5, rtol=1e-5)


def test_every_two_tokens_meet_once() -> None:
    """Near ones in the direct sum, others in one pair of blocks: as many as there are."""
    for length in (9, 16, 40, 77):
        far = {
            (left, right)
            for size, pairs in pairs_of_blocks(length)
            for begin in range(0, 2 * size * pairs, 2 * size)
            for left in range(begin, begin + size)
            for right in range(begin + size, min(begin + 2 * size, length))
            if right - left >= NEAR
        }
        assert len(far) == (length - NEAR) * (length - NEAR + 1) // 2


@pytest.mark.parametrize("border", [3, 16, 41, 64])
def test_no_bit_crosses_the_present_or_a_border(border: int) -> None:
    """What may not matter is made huge: one transform over the row would round all else away."""
    x, taps, _ = drawn(80)
    documents = (torch.arange(80) >= border).long().expand(2, -1)
    later, before = x.clone(), x.clone()
    later[:, border:] = 1e8
    before[:, :border] = 1e8
    plain, masked = long_convolution(x, taps), long_convolution(x, taps, documents)
    assert torch.equal(long_convolution(later, taps)[:, :border], plain[:, :border])
    assert torch.equal(long_convolution(before, taps, documents)[:, border:], masked[:, border:])
    assert torch.equal(masked[:, :border], plain[:, :border])


def test_gradients_are_zero_where_nothing_is_seen() -> None:
    x, taps, _ = drawn(60)
    documents = torch.tensor([[0] * 20 + [1] * 40, [0] * 60])
    x.requires_grad_()
    long_convolution(x, taps, documents)[:, 50].sum().backward()
    reached = (x.grad != 0).all(-1)
    assert reached[0].tolist() == [False] * 20 + [True] * 31 + [False] * 9
    assert reached[1].tolist() == [True] * 51 + [False] * 9


def test_sums_are_fp32_and_the_type_stays() -> None:
    x, taps, documents = drawn(40)
    y = long_convolution(x.bfloat16(), taps, documents)
    assert y.dtype == torch.bfloat16
    exact = long_convolution(x.bfloat16().float(), taps, documents)
    # Rounded three times: what is near, what is far, and both together.
    torch.testing.assert_close(y.float(), exact, atol=2**-8 * exact.abs().max().item(), rtol=0)


def test_documents_are_counted_in_their_row() -> None:
    documents = torch.tensor([[7, 7, 3, 3, 7], [-1, -1, -1, 0, 0]])
    assert numbered_runs(documents).tolist() == [[0, 0, 1, 1, 2], [0, 0, 0, 1, 1]]
