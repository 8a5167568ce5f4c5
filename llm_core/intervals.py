"""Standard errors and intervals of scores whose items come in clusters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit


class Estimate(NamedTuple):
    """A mean with its standard error and its interval; both are infinite with a single cluster."""

    mean: float
    stderr: float
    low: float
    high: float


def wilson(successes: float, count: float, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share (Wilson, 1927), which keeps its coverage near 0 and 1."""
    z = ndtri(0.5 + level / 2)
    share = successes / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(middle - reach), float(middle + reach)


def clustered_mean(
    values: ArrayLike, clusters: Sequence, weights: ArrayLike | None = None, level: float = 0.95
) -> Estimate:
    """The mean of values that are alike within a cluster (windows of one document, say).

    The clusters count as independent, the values within one do not. ``weights``: of each value, e.g. its bytes; the
    error is then that of a ratio estimator, from linearised residuals (Cochran, 1977, ch. 6).
    """
    values = np.asarray(values, np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, np.float64)
    mean = float(np.average(values, weights=weights))
    number = np.unique(np.asarray(clusters), return_inverse=True)[1]
    sums = np.bincount(number, weights * (values - mean))
    count = len(sums)
    if count < 2:
        return Estimate(mean, np.inf, -np.inf, np.inf)
    error = float(np.sqrt(count / (count - 1) * (sums**2).sum()) / weights.sum())
    reach = float(stdtrit(count - 1, 0.5 + level / 2) * error)
    return Estimate(mean, error, mean - reach, mean + reach)


def clustered_share(values: ArrayLike, clusters: Sequence, level: float = 0.95) -> Estimate:
    """The share of ones among ``values``, with Wilson's interval at the effective number of values.

    That is the number of independent values with the same standard error, at most the number of values, and lowered
    for few clusters as t is wider than the normal distribution (Korn and Graubard, 1998). When the clusters do not
    differ (all values are ones, say), each cluster counts as one value, since nothing tells how alike its values are.
    """
    estimate = clustered_mean(values, clusters, level=level)
    if not np.isfinite(estimate.stderr):
        return estimate
    count = len(set(clusters))
    if estimate.stderr > 0:
        effective = min(estimate.mean * (1 - estimate.mean) / estimate.stderr**2, len(clusters))
    else:
        effective = count
    effective *= (ndtri(0.5 + level / 2) / stdtrit(count - 1, 0.5 + level / 2)) ** 2
    low, high = wilson(estimate.mean * effective, effective, level)
    return estimate._replace(low=low, high=high)
