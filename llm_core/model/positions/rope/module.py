"""Rotary position embedding, and its scaling for texts longer than those of training."""

import math

import torch
from torch import Tensor

from llm_core.model.positions.position import Position, Tables
from llm_core.model.positions.rope.spec import Rope as RopeSpec
from llm_core.model.positions.rope.spec import RopeScaling


class Rope(Position):
    """Rotary position embedding (Su et al., 2021) rotates channel pair i of queries and keys by position ·
    theta^(-2i/C).

    C is the number of rotated channels, which may be fewer than those of a head. The pairs are (i, i + C/2), as in
    Llama's published weights. Each pass computes the angles in fp32: a buffer would
    be lost on the meta device and rounded by a cast of the model.
    """

    def __init__(self, spec: RopeSpec, n_heads: int, channels: int) -> None:
        super().__init__(spec, n_heads, spec.rotated(channels))
        self.theta, self.scaling = spec.theta, spec.scaling
        self.key = f"rope {self.channels} {self.theta} {self.scaling}"
        self.score_scale = score_scale(self.scaling)

    def tables(self, start: int | Tensor, length: int, device: torch.device) -> Tables:
        """Cosines and sines, each (T, C/2) in fp32; (B, 1, T, C/2) if rows have a ``start`` of their own."""
        frequencies = rope_frequencies(self.channels, self.theta, self.scaling, device)
        positions = start + torch.arange(length, device=device, dtype=torch.float32)
        angles_TC = positions[..., None] * frequencies
        return angles_TC.cos(), angles_TC.sin()

    def rotate(self, x_BHTC: Tensor, tables: Tables | None) -> Tensor:
        """Rotated queries or keys, (B, H, T, C) in the same type."""
        assert tables is not None
        cos_TC, sin_TC = (table.to(x_BHTC.dtype) for table in tables)
        left, right = x_BHTC[..., : self.channels].chunk(2, dim=-1)
        others = (x_BHTC[..., self.channels :],) if self.channels < x_BHTC.shape[-1] else ()
        return torch.cat((left * cos_TC - right * sin_TC, left * sin_TC + right * cos_TC, *others), dim=-1)


def rope_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None, device: torch.device) -> Tensor:
    """(C/2,) in fp32: the rotation of each channel pair in radians per token."""
    pairs = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32)
    if scaling is None:
        return theta ** (-pairs / head_dim)
    if scaling.kind == "ntk":
        return (theta * scaling.factor ** (head_dim / (head_dim - 2))) ** (-pairs / head_dim)
    frequencies = theta ** (-pairs / head_dim)
    if scaling.kind == "linear":
        return frequencies / scaling.factor
    # The unscaled share of each frequency: 1 for fast channels, 0 for slow ones.
    kept = _ramp(frequencies, scaling, head_dim, theta)
    return frequencies * kept + frequencies / scaling.factor * (1 - kept)


def _ramp(frequencies: Tensor, scaling: RopeScaling, head_dim: int, theta: float) -> Tensor:
    low, high = scaling.low_frequency, scaling.high_frequency
    if scaling.kind == "llama3":
        turns = scaling.original_length * frequencies / (2 * math.pi)
        return ((turns - low) / (high - low)).clamp(0, 1)

    # YaRN's ramp is linear in the index of the pair, between the pairs with ``high`` and ``low`` rotations.
    def pair_that_turns(times: float) -> float:
        return head_dim * math.log(scaling.original_length / (times * 2 * math.pi)) / (2 * math.log(theta))

    first = max(math.floor(pair_that_turns(high)), 0)
    last = min(math.ceil(pair_that_turns(low)), head_dim - 1)
    numbers = torch.arange(head_dim // 2, device=frequencies.device, dtype=torch.float32)
    return 1 - ((numbers - first) / max(last - first, 1e-3)).clamp(0, 1)


def score_scale(scaling: RopeScaling | None) -> float:
    """The factor of the scores: YaRN sharpens attention by (0.1 · ln(factor) + 1)²; 1 for the others."""
    if scaling is None or scaling.kind != "yarn":
        return 1.0
    return (0.1 * math.log(scaling.factor) + 1) ** 2
