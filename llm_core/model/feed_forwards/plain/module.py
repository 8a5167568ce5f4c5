"""Two matrices with a function between them: down(f(up(x)))."""

from torch import Tensor, nn
from torch.nn import functional


class _Plain(nn.Module):
    residual_writers = ("down.weight",)

    def __init__(self, d_model: int, d_ff: int, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, d_ff, bias=bias)
        self.down = nn.Linear(d_ff, d_model, bias=bias)


class GELU(_Plain):
    """x · Φ(x) (Hendrycks and Gimpel, 2016)."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        return self.down(functional.gelu(self.up(x_BTD)))


class GELUTanh(_Plain):
    """GELU by its tanh approximation, as in GPT-2."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        return self.down(functional.gelu(self.up(x_BTD), approximate="tanh"))


class ReLU(_Plain):
    """max(0, x)."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        return self.down(functional.relu(self.up(x_BTD)))


class ReLU2(_Plain):
    """max(0, x)² (So et al., 2021, Primer)."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        hidden_BTF = functional.relu(self.up(x_BTD))
        return self.down(hidden_BTF * hidden_BTF)  # CUDA's autocast makes powers, squares among them, fp32
