"""Normalisation. Each is made as ``Norm(dim, eps, bias)``."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Scale the last dimension to a root mean square of 1, times a learned weight (Zhang and Sennrich, 2019).

    The result has the input's type, also under autocast: the kernel sums in fp32 either way. It has no bias.
    """

    def __init__(self, dim: int, eps: float, bias: bool = False) -> None:  # noqa: ARG002 (every norm has this signature)
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) → (…, dim)."""
        # A weight of another type than the input would miss the fused kernel.
        return functional.rms_norm(x, (self.dim,), self.weight.to(x.dtype), self.eps)


class LayerNorm(nn.Module):
    """Shift and scale the last dimension to mean 0 and variance 1, times a learned weight (Ba et al., 2016).

    The result has the input's type, as with ``RMSNorm``.
    """

    def __init__(self, dim: int, eps: float, bias: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))
        self.bias = nn.Parameter(torch.empty(dim)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) → (…, dim)."""
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return functional.layer_norm(x, (self.dim,), self.weight.to(x.dtype), bias, self.eps).to(x.dtype)
