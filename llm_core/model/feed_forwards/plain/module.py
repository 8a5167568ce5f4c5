"""Two matrices with a function between them: down(f(up(x)))."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from llm_core.experiment.layers import LayerSpec
from llm_core.experiment.model import ModelSpec
from llm_core.model.feed_forwards.plain.spec import PlainSpec


class _Plain(nn.Module):
    residual_writers = ("down.weight",)
    function: Callable[[Tensor], Tensor]

    def __init__(self, spec: PlainSpec, model: ModelSpec, _layer: LayerSpec) -> None:
        super().__init__()
        self.up = nn.Linear(model.d_model, spec.d_ff, bias=model.bias)
        self.down = nn.Linear(spec.d_ff, model.d_model, bias=model.bias)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        return self.down(self.function(self.up(x_BTD)))


class GELU(_Plain):
    """x · Φ(x) (Hendrycks and Gimpel, 2016)."""

    function = staticmethod(functional.gelu)


class GELUTanh(_Plain):
    """GELU by its tanh approximation, as in GPT-2."""

    @staticmethod
    def function(x: Tensor) -> Tensor:
        """The same shape."""
        return functional.gelu(x, approximate="tanh")


class ReLU(_Plain):
    """max(0, x)."""

    function = staticmethod(functional.relu)


class ReLU2(_Plain):
    """max(0, x)² (So et al., 2021, Primer)."""

    @staticmethod
    def function(x: Tensor) -> Tensor:
        """The same shape."""
        x = functional.relu(x)
        return x * x  # CUDA's autocast computes powers in fp32, also squares
