import pytest
import torch
from torch.nn import functional

from llm_core.model.context import Context
from llm_core.model.convolution import CausalConvolution, ConvolutionState, causal_convolution
from llm_core.model.state import DecodingState, Room

CHANNELS = 5


def drawn(length: int, kernel: int, rows: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(length * 10 + kernel)
    shapes = (rows, length, CHANNELS), (CHANNELS, kernel), (CHANNELS,)
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


@pytest.mark.parametrize("length", [1, 2, 9])
@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_is_a_depthwise_convolution(length: int, kernel: int) -> None:
    x, weight, bias = drawn(length, kernel)
    padded = functional.pad(x.transpose(1, 2), (kernel - 1, 0))
    expected = functional.conv1d(padded, weight[:, None], bias, groups=CHANNELS).transpose(1, 2)
    torch.testing.assert_close(causal_convolution(x, weight, bias), expected)


@pytest.mark.parametrize("kernel", [2, 4])
def test_documents_are_as_if_alone(kernel: int) -> None:
    x, weight, bias = drawn(9, kernel, rows=1)
    ids = torch.tensor([[4] * 5 + [5] + [6] * 3])
    whole = causal_convolution(x, weight, bias, document_ids_BT=ids)
    alone = [causal_convolution(part, weight, bias) for part in x.split((5, 1, 3), dim=1)]
    assert torch.equal(whole, torch.cat(alone, dim=1))


def test_gradients_stay_in_the_document_and_in_the_past() -> None:
    x, weight, bias = drawn(8, 4, rows=1)
    x.requires_grad_()
    causal_convolution(x, weight, bias, document_ids_BT=torch.tensor([[0] * 3 + [1] * 5]))[:, 4].sum().backward()
    assert (x.grad[0].abs().sum(-1) > 0).tolist() == [False] * 3 + [True] * 2 + [False] * 3


def test_sums_are_fp32_and_the_type_stays() -> None:
    x, weight, bias = drawn(9, 4)
    y = causal_convolution(x.bfloat16(), weight, bias)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, causal_convolution(x.bfloat16().float(), weight, bias).bfloat16())


def read(x: torch.Tensor, pieces: tuple[int, ...], ids: torch.Tensor | None) -> torch.Tensor:
    """``x`` through a convolution with a state, piece by piece."""
    convolution = CausalConvolution(CHANNELS, 4, bias=True)
    _, weight, bias = drawn(1, 4)
    convolution.load_state_dict({"weight": weight, "bias": bias})
    state, start, parts = ConvolutionState(Room(len(x), 9, "cpu", torch.float32), 4, CHANNELS), 0, []
    for length in pieces:
        seen = None if ids is None else ids[:, : start + length]
        context = Context(start, length, seen, state=DecodingState([state], documents_BS=seen))
        parts.append(convolution(x[:, start : start + length], context, state))
        start += length
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("pieces", [(9,), (4, 5), (1, 2, 6), (1,) * 9])
def test_pieces_go_on_from_the_state(pieces: tuple[int, ...]) -> None:
    x, _, _ = drawn(9, 4)
    _, weight, bias = drawn(1, 4)
    torch.testing.assert_close(read(x, pieces, None), causal_convolution(x, weight, bias))


@pytest.mark.parametrize("pieces", [(9,), (4, 5), (3, 6), (1, 2, 6), (1,) * 9])
def test_a_state_keeps_nothing_of_documents_that_have_ended(pieces: tuple[int, ...]) -> None:
    """Also where a row's padding on the left ends with a piece, or shortly before."""
    x, _, _ = drawn(9, 4)
    _, weight, bias = drawn(1, 4)
    ids = torch.tensor([[-1] * 3 + [0] * 6, [0] * 9])
    expected = causal_convolution(x, weight, bias, document_ids_BT=ids)
    torch.testing.assert_close(read(x, pieces, ids), expected)
