"""Normalisation.

Autocast is off inside, so types are the same on every device and in every version of torch. CUDA's autocast computes
norms in fp32 (``layer_norm`` always, ``rms_norm`` since torch 2.12): a norm of bf16 would return fp32 and save fp32
copies.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from llm_core.model.norms.spec import LayerNorm as LayerNormSpec
from llm_core.model.norms.spec import RMSNorm as RMSNormSpec


class RMSNorm(nn.Module):
    """Scale the last dimension to a root mean square of 1, times a learned weight (Zhang and Sennrich, 2019), if it has
    one.

    The result has the input's type, also under autocast. The kernel sums in fp32 in any case.
    """

    def __init__(self, spec: RMSNormSpec, dim: int, _bias: bool) -> None:
        super().__init__()
        self.dim, self.eps = dim, spec.eps
        self.weight = nn.Parameter(torch.empty(dim)) if spec.gain else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) → (…, dim)."""
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            if not torch.is_grad_enabled():
                return _normed(x, self.weight, self.eps)[0]
            normed: Tensor = _RMSNormOnCPU.apply(x, self.weight, self.eps)
            return normed
        # The fused kernel needs a weight of the input's type.
        weight = None if self.weight is None else self.weight.to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return functional.rms_norm(x, (self.dim,), weight, self.eps)


def _normed(x: Tensor, weight: Tensor | None, eps: float) -> tuple[Tensor, Tensor]:
    """The normalised ``x``, and the factor (…, 1) of each vector."""
    sums = torch.promote_types(x.dtype, torch.float32)
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=sums)
    scale = scale.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    y = x * scale
    return (y if weight is None else y.mul_(weight)).to(x.dtype), scale


class _RMSNormOnCPU(torch.autograd.Function):
    """CPUs have no fused kernel, and autograd through the formula takes four times as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        y, scale = _normed(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        dim = x.shape[-1]
        # y = x · scale · weight, and scale follows from x: its derivative is -scale³ · x / dim.
        products = (upstream.to(scale.dtype) * x).reshape(-1, dim)
        weight_grad = None
        if weight is None:
            shift = products.sum(-1)
        else:
            with torch.autocast("cpu", enabled=False):
                weight_grad = (products.T @ scale.view(-1)).to(weight.dtype)
                shift = products @ weight.to(scale.dtype)
        shift = shift.view(scale.shape).mul_(scale.pow(3)).div_(-dim)
        x_grad = (upstream if weight is None else upstream * weight).to(scale.dtype)
        x_grad = (x_grad * scale).addcmul_(x, shift)
        return x_grad.to(x.dtype), weight_grad, None


class LayerNorm(nn.Module):
    """Shift and scale the last dimension to mean 0 and variance 1, times a learned weight (Ba et al., 2016).

    The result has the input's type, as with ``RMSNorm``.
    """

    def __init__(self, spec: LayerNormSpec, dim: int, bias: bool) -> None:
        super().__init__()
        self.dim, self.eps = dim, spec.eps
        self.weight = nn.Parameter(torch.empty(dim))
        self.bias = nn.Parameter(torch.empty(dim)) if spec.has_bias(bias) else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) → (…, dim)."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            return functional.layer_norm(x, (self.dim,), self.weight.to(x.dtype), bias, self.eps)
