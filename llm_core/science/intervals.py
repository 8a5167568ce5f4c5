"""Intervals of shares and of means over clusters."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm, t


def wilson(successes: float, count: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share (Wilson, 1927), which keeps its coverage near 0 and 1."""
    z = norm.ppf(0.5 + level / 2)
    share = successes / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(middle - reach), float(middle + reach)


def clustered_mean(
    values: ArrayLike, clusters: Sequence, weights: ArrayLike | None = None, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean, and bounds of its interval, of values that are alike within a cluster (windows of one document, say).

    The clusters count as independent, the values within one do not. ``weights``: of each value, e.g. its bytes.
    """
    values = np.asarray(values, np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)
    mean = float(np.average(values, weights=weights))
    number = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums = np.bincount(number, weights * (values - mean))
    count = len(sums)
    if count < 2:
        return mean, -np.inf, np.inf
    error = np.sqrt(count / (count - 1) * (sums**2).sum()) / weights.sum()
    reach = float(t.ppf(0.5 + level / 2, count - 1) * error)
    return mean, mean - reach, mean + reach
