"""Planted sweeps."""

import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.science.learning_rate import BestRate, best_rate, rate_law

RATES = np.geomspace(1e-3, 3e-2, 7)


def _losses(best: float, curvature: float = 0.08, noise: float = 0.0):
    return 3 + curvature / 2 * np.log(RATES / best) ** 2 + np.random.default_rng(0).normal(0, noise, 7)


def test_a_planted_minimum_is_found():
    found = best_rate(RATES, _losses(6e-3), 0.002)
    assert found.rate == pytest.approx(6e-3, rel=1e-3)
    assert found.curvature == pytest.approx(0.08, rel=1e-3)
    assert found.loss == pytest.approx(3.0, abs=1e-6)
    assert not found.at_edge
    assert found.regret(12e-3) == pytest.approx(0.04 * np.log(2) ** 2, rel=1e-2)


def test_the_error_is_what_the_noise_makes_it():
    places = []
    for seed in range(200):
        noise = np.random.default_rng(seed).normal(0, 0.004, 7)
        places.append(np.log(best_rate(RATES, _losses(6e-3) + noise, 0.004).rate))
    assert np.std(places) == pytest.approx(best_rate(RATES, _losses(6e-3), 0.004).log_sd, rel=0.4)


@pytest.mark.parametrize("best", [3e-4, 1e-3, 8e-2])
def test_a_minimum_at_the_edge_is_told(best):
    found = best_rate(RATES, _losses(best), 0.002)
    assert found.at_edge
    assert RATES[0] <= found.rate <= RATES[-1]


def test_a_sweep_without_a_minimum():
    found = best_rate(RATES, np.linspace(3.0, 3.5, 7) * [1, 1, 1, 1, 1, 1, 0.9], 0.002)
    assert found.at_edge
    assert found.regret(1e-3) is None


def test_diverged_runs_are_left_out():
    losses = _losses(6e-3)
    losses[-1] = np.nan
    assert best_rate(RATES, losses, 0.002).rate == pytest.approx(6e-3, rel=1e-2)
    with pytest.raises(PedigreeError, match="2 learning rates with a finite loss"):
        best_rate(RATES[:3], [3.0, 3.1, np.inf], 0.002)


def _sweeps(parameters, tokens, batch, exponents=(-0.5, 0.2, 0.3)):
    rates = 0.01 * (parameters / 1e6) ** exponents[0] * (tokens / 2e7) ** exponents[1] * (batch / 4096) ** exponents[2]
    return [BestRate(rate, 0.03, 3.0, 0.08, False) for rate in rates]


def test_a_planted_law_of_rates_is_found():
    rng = np.random.default_rng(0)
    parameters, tokens, batch = (np.exp(rng.uniform(low, high, 24)) for low, high in ((13, 17), (16, 20), (7, 11)))
    law = rate_law(_sweeps(parameters, tokens, batch), parameters, tokens, batch)
    assert law.exponents == pytest.approx((-0.5, 0.2, 0.3), abs=0.05)
    (truth,) = _sweeps(np.array([1e8]), np.array([2e9]), np.array([65536]))
    assert law.rate(1e8, 2e9, 65536) == pytest.approx(truth.rate, rel=0.2)
    assert law.log_sd(1e8, 2e9, 65536) < 0.3


def test_two_sizes_lean_on_the_prior_and_say_so():
    sizes, tokens = np.array([1e6, 2e6]), np.array([2e7, 4e7])
    law = rate_law(_sweeps(sizes, tokens, np.full(2, 4096)), sizes, tokens, 4096)
    assert law.log_sd(1e9, 2e10, 4096) > 5 * law.log_sd(1.5e6, 3e7, 4096)
    edge = [BestRate(0.01, np.inf, 3.0, 0.0, True)] * 2
    with pytest.raises(PedigreeError, match="0 of 2 sweeps"):
        rate_law(edge, sizes, tokens, 4096)
