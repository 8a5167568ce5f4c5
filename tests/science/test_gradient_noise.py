"""The noise scale of gradients whose covariance is known."""

import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.science.gradient_noise import noise_scale


def _squares(rng, steps: int, small: int, count: int):
    """Squared norms for gradients N(G, Σ/batch) of a quadratic; |G|² = 4, tr(Σ) = 900."""
    gradient = np.zeros(50)
    gradient[0] = 2.0
    micro = gradient + rng.normal(0, np.sqrt(900 / 50 / small), (steps, count, 50))
    return (micro**2).sum(axis=2).mean(axis=1), (micro.mean(axis=1) ** 2).sum(axis=1)


def test_a_known_scale_is_found_and_covered():
    inside = []
    for seed in range(100):
        small, large = _squares(np.random.default_rng(seed), 200, 8, 8)
        found = noise_scale(small, large, 8, 64)
        inside.append(found.low <= 225 <= found.high)
        assert found.batch == pytest.approx(225, rel=0.4)
    assert np.mean(inside) >= 0.8


def test_refusals():
    small, large = _squares(np.random.default_rng(0), 20, 8, 8)
    with pytest.raises(PedigreeError, match="at least 10 steps, and a trunk has 5"):
        noise_scale(small[:5], large[:5], 8, 64)
    with pytest.raises(PedigreeError, match="shows only between the two"):
        noise_scale(small, large, 64, 64)
    with pytest.raises(PedigreeError, match="all noise, or none"):
        noise_scale(small, large * 0, 8, 64)
