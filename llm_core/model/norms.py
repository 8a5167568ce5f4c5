"""Normalisation."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class RMSNorm(nn.Module):
    """Scale the last dimension to a root mean square of 1, times a learned weight (Zhang and Sennrich, 2019).

    The result has the input's type, also under autocast: the kernel sums in fp32 either way.
    """

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(…, dim) → (…, dim)."""
        # A weight of another type than the input would miss the fused kernel.
        return functional.rms_norm(x, (self.dim,), self.weight.to(x.dtype), self.eps)
