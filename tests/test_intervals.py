"""Intervals beside statsmodels, and on clusters."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from llm_core.intervals import clustered_mean, clustered_share, wilson


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (497, 1000)])
def test_wilson_is_statsmodels(successes, count):
    assert wilson(successes, count) == pytest.approx(proportion_confint(successes, count, method="wilson"))


def test_values_of_one_cluster_do_not_count_as_many():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(200):
        values = np.repeat(rng.normal(0, 1, 20), 10) + rng.normal(0, 0.1, 200)
        _, _, low, high = clustered_mean(values, np.repeat(np.arange(20), 10))
        inside.append(low <= 0 <= high)
    assert 0.9 <= np.mean(inside) <= 0.99


def test_weights_and_one_cluster():
    mean, _, low, high = clustered_mean([1.0, 3.0], ["a", "b"], [3, 1])
    assert mean == 1.5
    assert low < 1.5 < high
    assert clustered_mean([1.0, 3.0], ["a", "a"])[1:] == (np.inf, -np.inf, np.inf)
    assert clustered_share([1, 0], ["a", "a"])[1:] == (np.inf, -np.inf, np.inf)


@pytest.mark.parametrize(("share", "usual"), [(0.5, 0.93), (0.97, 0.8)])
def test_shares_of_few_clusters_are_covered_near_one_too(share, usual):
    """Ten clusters of 20 alike answers; ``usual``: at least covered by the interval of t, which fails near one."""
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(10), 20).tolist()
    inside = {"clustered": [], "t": [], "unclustered": []}
    for _ in range(400):
        values = rng.random(200) < np.repeat(rng.beta(share * 20, (1 - share) * 20, 10), 20)
        for name, (low, high) in {
            "clustered": clustered_share(values, clusters)[2:],
            "t": clustered_mean(values, clusters)[2:],
            "unclustered": wilson(values.sum(), 200),
        }.items():
            inside[name].append(low <= share <= high)
    assert np.mean(inside["clustered"]) >= 0.94
    assert usual <= np.mean(inside["t"]) < usual + 0.1
    assert np.mean(inside["unclustered"]) < 0.88


def test_clusters_that_do_not_differ_count_as_one_value_each():
    values = [1] * 100
    _, error, low, high = clustered_share(values, [number // 10 for number in range(100)])
    assert (error, high) == (0, 1)
    assert 0.6 < low < wilson(10, 10)[0]
