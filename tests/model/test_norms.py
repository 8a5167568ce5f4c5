import pytest
import torch
from torch.nn import functional

from llm_core.model.norms.module import RMSNorm
from llm_core.model.norms.spec import RMSNorm as RMSNormSpec


def rms_norm(dim: int, eps: float, gain: bool = True) -> RMSNorm:
    return RMSNorm(RMSNormSpec(eps=eps, gain=gain), dim, False)


def test_matches_the_formula() -> None:
    norm = rms_norm(8, eps=1e-3)
    torch.nn.init.uniform_(norm.weight)
    x = torch.randn(3, 5, 8)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)


def test_keeps_the_type_of_its_input() -> None:
    norm = rms_norm(64, eps=1e-5)
    torch.nn.init.ones_(norm.weight)
    x = torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(x).dtype == torch.float32
        half = norm(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), norm(x), atol=0.02, rtol=0.02)


@pytest.mark.parametrize("shape", [(8,), (3, 8), (2, 3, 5, 8)])
def test_gradients_are_those_of_the_formula(shape: tuple[int, ...]) -> None:
    norm = rms_norm(8, eps=1e-3).double()
    torch.nn.init.uniform_(norm.weight)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)
    assert torch.autograd.gradcheck(
        lambda weight: torch.func.functional_call(norm, {"weight": weight}, x.detach()), norm.weight
    )


def test_gradients_of_strided_heads_in_bf16_are_as_good_as_torchs() -> None:
    norm, exact = rms_norm(16, eps=1e-5), rms_norm(16, eps=1e-5).double()
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    exact.load_state_dict(norm.state_dict())
    wide = torch.randn(2, 7, 5, 16).bfloat16()
    upstream = torch.randn(2, 3, 7, 16).bfloat16().transpose(1, 2)
    x = wide[:, :, 1:4].detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norm(x).backward(upstream)
    truth = wide[:, :, 1:4].double().requires_grad_()
    exact(truth).backward(upstream.double())
    plain = wide[:, :, 1:4].detach().requires_grad_()
    functional.rms_norm(plain, (16,), norm.weight.detach().bfloat16(), 1e-5).backward(upstream)
    error, torchs = ((grad.double() - truth.grad).norm() for grad in (x.grad, plain.grad))
    assert error <= torchs
    torch.testing.assert_close(norm.weight.grad.double(), exact.weight.grad, atol=1e-5, rtol=1e-5)


def test_without_a_gain_it_is_that_of_gain_1() -> None:
    plain, norm = rms_norm(8, eps=1e-3, gain=False).double(), rms_norm(8, eps=1e-3).double()
    torch.nn.init.ones_(norm.weight)
    assert not list(plain.parameters())
    x = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.equal(plain(x), norm(x))
    assert torch.autograd.gradcheck(plain, x)
    half = x.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert plain(half).dtype == torch.bfloat16
        plain(half).sum().backward()
    assert half.grad.dtype == torch.bfloat16
