"""Positions that are added to the embedding."""

import math

import torch
from torch import Tensor, nn

from llm_core.experiment.layers import AbsolutePositionSpec
from llm_core.model.positions.absolute.spec import Learned as LearnedSpec


class Sinusoidal(nn.Module):
    """Sines and cosines of geometric wavelengths up to 10,000 · 2π (Vaswani et al., 2017): channel 2i is
    sin(position · 10000^(-2i/D)), channel 2i + 1 the cosine of the same. They have no weights.

    They are scaled to the size of the initial embeddings. Otherwise they would be several times as large as these.
    """

    def __init__(self, _spec: AbsolutePositionSpec, d_model: int, size: float) -> None:
        super().__init__()
        self.width = d_model
        self.amplitude = 2**0.5 * size  # a sine's root mean square is 1 / √2

    def forward(self, positions: Tensor) -> Tensor:
        """Positions of any shape (…) → (…, D) in fp32."""
        channels = torch.arange(0, self.width, 2, device=positions.device, dtype=torch.float32)
        angles = positions[..., None].float() * torch.exp(channels * (-math.log(10_000.0) / self.width))
        return self.amplitude * torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., : self.width]


class Learned(nn.Module):
    """One vector for each of ``max_positions`` positions (Radford et al., 2018)."""

    def __init__(self, spec: LearnedSpec, d_model: int, _size: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(spec.max_positions, d_model)

    def forward(self, positions: Tensor) -> Tensor:
        """Positions of any shape (…) → (…, D)."""
        vectors: Tensor = self.embedding(positions)
        return vectors
