"""Intervals beside statsmodels, and on clusters."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from llm_core.science.intervals import clustered_mean, wilson


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 10), (10, 10), (497, 1000)])
def test_wilson_is_statsmodels(successes, count):
    assert wilson(successes, count) == pytest.approx(proportion_confint(successes, count, method="wilson"))


def test_values_of_one_cluster_do_not_count_as_many():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(200):
        values = np.repeat(rng.normal(0, 1, 20), 10) + rng.normal(0, 0.1, 200)
        _, low, high = clustered_mean(values, np.repeat(np.arange(20), 10))
        inside.append(low <= 0 <= high)
    assert 0.9 <= np.mean(inside) <= 0.99


def test_weights_and_one_cluster():
    mean, low, high = clustered_mean([1.0, 3.0], ["a", "b"], [3, 1])
    assert mean == 1.5
    assert low < 1.5 < high
    assert clustered_mean([1.0, 3.0], ["a", "a"])[1:] == (-np.inf, np.inf)
