"""Gated feed-forwards (Shazeer, 2020): down(f(gate(x)) · up(x)). Gate and up are one matrix product."""

from torch import Tensor, nn
from torch.nn import functional

from llm_core.model.fused import FusedLinear


class _Gated(nn.Module):
    residual_writers = ("down.weight",)

    def __init__(self, d_model: int, d_ff: int, bias: bool) -> None:
        super().__init__()
        self.gate_up = FusedLinear(d_model, (d_ff, d_ff), bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)


class SwiGLU(_Gated):
    """The gate is silu."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        gate_BTF, up_BTF = self.gate_up(x_BTD).chunk(2, dim=-1)
        return self.down(functional.silu(gate_BTF) * up_BTF)


class GeGLU(_Gated):
    """The gate is GELU's tanh form, as in Gemma."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        gate_BTF, up_BTF = self.gate_up(x_BTD).chunk(2, dim=-1)
        return self.down(functional.gelu(gate_BTF, approximate="tanh") * up_BTF)
