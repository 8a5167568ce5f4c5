import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.science.mixture_law import MixtureLaw, best_of, differ, fit_mixtures, held
from llm_core.science.simplex import spread

EVERYTHING = np.ones(3)
LAW = MixtureLaw(np.array([0.7, 0.9]), np.array([[-1.5, -0.4, 0.1], [0.2, -1.6, -0.3]]))
TARGET = np.array([0.6, 0.4])


def test_mixtures_fill_the_simplex_and_more_of_them_keep_the_first():
    few, many = spread(20, 0.02, EVERYTHING, 7), spread(200, 0.02, EVERYTHING, 7)
    assert (many[:20] == few).all()
    assert np.allclose(many.sum(axis=1), 1)
    assert np.allclose(many.mean(axis=0), 1 / 3, atol=0.03)
    # A mixture is nearer to one of them than to one of as many that are drawn by chance.
    rng = np.random.default_rng(1)
    places, by_chance = rng.dirichlet(EVERYTHING, 500), [rng.dirichlet(EVERYTHING, 20) for _ in range(20)]
    far = [np.linalg.norm(places[:, None] - runs, axis=2).min(axis=1).mean() for runs in (few, *by_chance)]
    assert far[0] < min(far[1:])


def test_shares_stay_within_their_bounds():
    found = spread(50, 0.1, np.array([1.0, 0.3, 1.0]), 7)
    assert found.min() >= 0.1 - 1 / 1024
    assert found[:, 1].max() <= 0.3 + 1 / 1024


def test_two_sources_have_only_so_many_mixtures():
    found = spread(4096, 0.02, np.ones(2), 7)
    assert len(found) == len(np.unique(found, axis=0))
    assert 950 < len(found) < 1024


def test_the_law_finds_its_parameters_and_the_best_mixture():
    weights = spread(12, 0.02, EVERYTHING, 3)
    found = fit_mixtures(weights, LAW.losses(weights))
    assert found.floors == pytest.approx(LAW.floors, rel=0.03)
    assert found.effects == pytest.approx(LAW.effects, abs=0.06)
    candidates = spread(1000, 0.02, EVERYTHING, 4)
    best = best_of(candidates, candidates[:1], weights, LAW.losses(weights), TARGET)
    assert best.place == np.argmin(LAW.losses(candidates) @ TARGET)
    assert best.behind[0] == best.behind[-1]


def test_the_best_mixture_is_among_those_within_noise():
    candidates, weights = spread(500, 0.02, EVERYTHING, 4), spread(15, 0.02, EVERYTHING, 3)
    true = LAW.losses(candidates) @ TARGET
    hits, sizes = [], []
    for draw in range(40):
        losses = LAW.losses(weights) * np.exp(np.random.default_rng(draw).normal(0, 0.003, (15, 1)))
        best = best_of(candidates, candidates[:0], weights, losses, TARGET)
        hits.append(bool(best.alike[np.argmin(true)]))
        sizes.append(best.alike.mean())
    assert np.mean(hits) >= 0.85  # 95%, one-sided
    assert np.mean(sizes) < 0.3  # and it is no matter of course


def test_an_order_that_chance_reaches_is_no_prediction():
    observed = np.array([1.0, 1.1, 1.2, 1.3, 1.4])
    assert held(observed + 1, observed).p == pytest.approx(1 / 120)
    assert held(observed[[1, 0, 2, 3, 4]], observed).p == pytest.approx(5 / 120)
    assert held(observed[[2, 1, 0, 3, 4]], observed).p > 0.05
    assert held(-observed, observed).rank_correlation == pytest.approx(-1)
    assert held(np.ones(5), observed).p == 1


def test_equal_mixtures_are_told_from_different_ones():
    draws = [np.random.default_rng(draw).normal(1, 0.01, 20) for draw in range(100)]
    noises = [float(np.random.default_rng(1000 + draw).normal(0, 0.01, 5).std(ddof=1)) for draw in range(100)]
    assert np.mean([differ(losses, noise, 4) for losses, noise in zip(draws, noises, strict=True)]) <= 0.1
    assert differ(np.linspace(1, 1.2, 20), 0.01, 4)
    assert not differ(np.ones(5), 0.0, 4)


def test_too_few_runs_are_refused():
    weights = spread(4, 0.02, EVERYTHING, 3)
    with pytest.raises(PedigreeError, match="4 runs of 3 sources; a law of mixtures takes at least 5"):
        fit_mixtures(weights, LAW.losses(weights))
