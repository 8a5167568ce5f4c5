"""Laws fitted to runs whose law is known."""

import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.science import loss_law
from llm_core.science.loss_law import fit
from llm_core.science.runs import Runs
from tests.science.planted import Planted


def test_a_planted_law_is_found():
    runs = Planted(noise=1e-4).runs(np.random.default_rng(0), sizes=8, budgets=6)
    law = fit(runs)
    assert law.floor == pytest.approx(1.8, abs=0.05)
    assert law.exponents == pytest.approx((0.34, 0.37), abs=0.03)
    assert not law.excluded.any()
    assert law.noise < 1e-3


def test_the_order_of_the_runs_does_not_matter():
    runs = Planted().runs(np.random.default_rng(1))
    order = np.random.default_rng(2).permutation(len(runs))
    first, other = fit(runs), fit(runs.chosen(order))
    assert other.point == pytest.approx(first.point, abs=1e-4)
    assert other.run_sd == pytest.approx(first.run_sd, rel=0.05)


def test_the_projection_finds_the_best_of_many_starts():
    runs = Planted().runs(np.random.default_rng(3), sizes=loss_law.MANY_SIZES)
    law = fit(runs)
    target = np.log(runs.loss)
    mean = loss_law.prior_mean("additive", runs.loss)
    places = loss_law._places(runs.parameters, runs.tokens, law.centre)
    sd = max(1.4826 * np.median(np.abs(target - law.log_loss(runs.parameters, runs.tokens))), 5e-4)
    solve = loss_law._solver("additive", places, target, mean, sd)
    rng = np.random.default_rng(4)
    brute = min(solve(mean + rng.normal(0, 1, 6) * loss_law.PRIOR_SD)[2] for _ in range(30))
    assert solve(law.point)[2] <= brute * (1 + 1e-3)


def test_an_outlier_is_excluded_and_named():
    runs = Planted().runs(np.random.default_rng(5))
    loss = runs.loss.copy()
    loss[7] *= 1.3
    law = fit(Runs(runs.parameters, runs.tokens, runs.flops, loss, runs.trunks))
    assert list(np.flatnonzero(law.excluded)) == [7]


def test_a_law_without_a_floor():
    law = fit(Planted(floor=0.0, size=1.5, text=1.2, noise=1e-3).runs(np.random.default_rng(6)))
    assert np.isfinite(law.point).all()
    parameters, tokens, loss = Planted(floor=0.0, size=1.5, text=1.2, noise=0.0).beyond(np.random.default_rng(0))
    assert law.loss(parameters, tokens) == pytest.approx(loss, rel=0.15)


def test_kaplans_form_is_the_one_that_kaplan_wrote():
    """L = ((Nc/N)^(αN/αD) + Dc/D)^αD."""
    rng = np.random.default_rng(7)
    parameters, tokens = np.exp(rng.uniform(13, 19, 40)), np.exp(rng.uniform(17, 22, 40))
    loss = ((8.8e13 / parameters) ** (0.076 / 0.095) + 5.4e13 / tokens) ** 0.095
    law = fit(Runs.of(parameters, tokens, 6 * parameters * tokens, loss, range(40)), "kaplan")
    assert law.exponents == pytest.approx((0.076, 0.095), abs=0.004)
    assert law.floor == 0.0


def test_an_interaction_is_found():
    law = fit(Planted(kappa=0.6, noise=2e-4).runs(np.random.default_rng(8), sizes=10, budgets=8), "coupled")
    assert law.kappa == pytest.approx(0.6, abs=0.15)


def test_too_few_runs_are_refused():
    runs = Planted().runs(np.random.default_rng(0))
    with pytest.raises(PedigreeError, match="3 runs; a law takes at least 6"):
        fit(runs.chosen(np.arange(24) < 3))
    with pytest.raises(PedigreeError, match="runs of 2 different sizes; a law takes at least 3"):
        fit(runs.chosen(np.arange(24) < 8))
    same = Runs(runs.parameters, np.full(24, 1e8), runs.flops, runs.loss, runs.trunks)
    with pytest.raises(PedigreeError, match="runs of 1 different amounts of text"):
        fit(same)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 0.0, -1.0])
def test_a_diverged_run_is_no_data(wrong):
    with pytest.raises(PedigreeError, match=r"run 2: loss is .* leave out runs that diverged"):
        Runs.of([1, 2, 3], [1, 2, 3], [1, 2, 3], [3.0, 3.0, wrong])


def test_columns_of_different_lengths():
    with pytest.raises(PedigreeError, match="tokens: 2 numbers for 3 runs"):
        Runs.of([1, 2, 3], [1, 2], [1, 2, 3], [3, 3, 3])


def test_no_run_of_a_small_ladder_is_an_outlier_for_following_its_size_closely():
    """Eight short runs of three sizes: with a shift for each size, most lie next to the law."""
    sizes = np.array([312320] * 4 + [494592] * 2 + [892928] * 2)
    tokens = np.array([30720, 62464, 30720, 62464, 49152, 99328, 89088, 178176])
    loss = [2.7279, 2.4849, 2.7565, 2.4878, 2.5395, 2.3235, 2.3346, 2.1454]
    law = fit(Runs.of(sizes, tokens, 6 * sizes * tokens, loss, [0, 0, 1, 1, 2, 2, 3, 3]))
    assert not law.excluded.any()
