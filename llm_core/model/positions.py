"""How attention learns where a token stands."""

import torch
from torch import Tensor, nn


class Rope(nn.Module):
    """Rotary position embedding (Su et al., 2021): channel pair i of a query or key turns by position · theta^(-2i/C).

    The pairs are (i, i + C/2), as in Llama's published weights. The angles are computed on the fly, in fp32: a buffer
    would be lost on the meta device and blunted by a cast of the model.
    """

    def __init__(self, head_dim: int, theta: float) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.theta = theta

    def prepare(self, start: int, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each (T, C/2) in fp32, of the positions ``start`` … ``start + length - 1``.

        Made once a forward pass and shared by all layers.
        """
        pairs = torch.arange(0, self.head_dim, 2, device=device, dtype=torch.float32)
        frequencies = self.theta ** (-pairs / self.head_dim)
        positions = torch.arange(start, start + length, device=device, dtype=torch.float32)
        angles_TC = torch.outer(positions, frequencies)
        return angles_TC.cos(), angles_TC.sin()

    def forward(self, x_BHTC: Tensor, prepared: tuple[Tensor, Tensor]) -> Tensor:
        """Queries or keys (B, H, T, C), turned; the type stays."""
        cos_TC, sin_TC = (table.to(x_BHTC.dtype) for table in prepared)
        left, right = x_BHTC.chunk(2, dim=-1)
        return torch.cat((left * cos_TC - right * sin_TC, left * sin_TC + right * cos_TC), dim=-1)
