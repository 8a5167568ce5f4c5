"""What the intervals promise, on runs whose law is known."""

import numpy as np
import pytest

from llm_core.science.extrapolation import USUAL_DRIFT, Backtest, backtests, drift, interval
from llm_core.science.loss_law import SIZE_SD, fit
from tests.science.planted import Planted, drawn

DRAWS = 30


NONE = 1e-4
"""A standard deviation between sizes that is next to none."""


def _coverage(step: float, size_sd: float = SIZE_SD, **fixed) -> float:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(DRAWS):
        law = drawn(rng, **fixed)
        fitted = fit(law.runs(rng), size_sd=size_sd)
        parameters, tokens, loss = law.beyond(rng)
        inside.append(interval(fitted, parameters, tokens, 6 * parameters * tokens, step).contains(loss))
    return float(np.mean(inside))


def test_independent_runs_of_a_true_law_are_covered_without_drift():
    """500 draws are in benchmarks/scaling_law.py."""
    assert 0.8 <= _coverage(0.0, NONE) <= 0.97


def test_trunks_and_interaction_need_the_drift():
    assert _coverage(0.0, NONE, trunk=0.006, kappa=0.7) < 0.8
    assert _coverage(USUAL_DRIFT, trunk=0.006, kappa=0.7) >= 0.85


def test_three_sizes_that_deviate_together_do_not_pass_for_an_exponent():
    """Seeds agree, and each size lies half a percent off: without a deviation of sizes, few larger runs are covered."""
    rng, inside = np.random.default_rng(3), []
    for _ in range(DRAWS):
        law = drawn(rng, trunk=SIZE_SD, noise=0.001)
        runs = law.runs(rng, sizes=3, budgets=3)
        parameters, tokens, loss = law.beyond(rng)
        bands = [
            interval(fit(runs, size_sd=sd), parameters, tokens, 6 * parameters * tokens, 0.0) for sd in (NONE, SIZE_SD)
        ]
        inside.append([band.contains(loss).mean() for band in bands])
    naive, told = np.mean(inside, axis=0)
    assert naive < 0.75
    assert told >= 0.8


def test_an_interval_widens_with_the_distance_and_the_level():
    law = fit(Planted().runs(np.random.default_rng(1)))
    parameters = np.array([2e7, 8e7, 3e8])
    near, _, far = interval(law, parameters, 20 * parameters, 120 * parameters**2, USUAL_DRIFT).half_width
    assert near < far
    half = interval(law, parameters, 20 * parameters, 120 * parameters**2, USUAL_DRIFT, level=0.5)
    assert half.half_width[2] < far / 2


def test_no_drift_within_the_runs():
    runs = Planted().runs(np.random.default_rng(1))
    law = fit(runs)
    some = runs.parameters[3], runs.tokens[3], runs.flops[3]
    assert interval(law, *some, 1.0).high == pytest.approx(interval(law, *some, 0.0).high)


def test_backtests_forecast_larger_runs_from_smaller_ones():
    tests = backtests(Planted(noise=1e-3).runs(np.random.default_rng(2), sizes=10, budgets=5))
    assert len(tests) >= 3
    for test in tests:
        assert (test.distance >= np.log(1.5)).all()
        assert np.abs(test.errors).max() < 0.05
    assert not backtests(Planted().runs(np.random.default_rng(2), sizes=3, budgets=2))


def test_the_drift_follows_the_backtests():
    assert drift([]) == pytest.approx(USUAL_DRIFT, rel=0.05)
    distance = np.array([1.0, 2.0, 2.5])
    calm = [Backtest(1e15, np.full(3, 1e-4), np.full(3, 1e-3), distance, np.arange(3))] * 8
    wild = [Backtest(1e15, 0.03 * distance, np.full(3, 1e-3), distance, np.arange(3))] * 8
    assert drift(calm) < USUAL_DRIFT / 2
    assert drift(wild) > 2 * USUAL_DRIFT


def test_a_run_of_more_flops_than_numpy_has_integers_is_forecast():
    law = fit(Planted().runs(np.random.default_rng(1)))
    few, many = (interval(law, 1e9, 2e10, flops, 0.01).half_width for flops in (10**19, 130 * 10**18))
    assert 0 < few < many
