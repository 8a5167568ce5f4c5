"""Gated feed-forwards (Shazeer, 2020): down(f(gate(x)) · up(x)). Gate and up are one matrix product."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.feed_forwards.gated.spec import GatedSpec
from llm_core.model.fused import FusedLinear


class _Gated(nn.Module):
    residual_writers = ("down.weight",)
    function: Callable[[Tensor], Tensor]

    def __init__(self, spec: GatedSpec, model: ModelSpec, _layer: LayerSpec) -> None:
        super().__init__()
        self.gate_up = FusedLinear(model.d_model, (spec.d_ff, spec.d_ff), bias=model.bias)
        self.down = nn.Linear(spec.d_ff, model.d_model, bias=model.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        gate_BTF, up_BTF = self.gate_up(x_BTD).chunk(2, dim=-1)
        return self.down(self.function(gate_BTF) * up_BTF)


class SwiGLU(_Gated):
    """The gate is silu."""

    function = staticmethod(functional.silu)


class GeGLU(_Gated):
    """The gate is GELU's tanh form, as in Gemma."""

    @staticmethod
    def function(x: Tensor) -> Tensor:
        """The same shape."""
        return functional.gelu(x, approximate="tanh")
