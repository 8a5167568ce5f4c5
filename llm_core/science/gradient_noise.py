"""The batch at which more data parallelism stops to pay, from gradients that ordinary steps compute anyway.

The simple noise scale B = tr(Σ)/|G|² (McCandlish et al., 2018) from the squared norms of the gradient of a micro-batch
and of the mean over all micro-batches of a step.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from llm_core.errors import PedigreeError


@dataclass(frozen=True)
class NoiseScale:
    """The noise scale with its interval, all in the unit of the batches (tokens or sequences)."""

    batch: float
    low: float
    high: float


def noise_scale(
    small_squares: ArrayLike, large_squares: ArrayLike, small: float, large: float, level: float = 0.9
) -> NoiseScale:
    """The noise scale from squared gradient norms of steps: of a micro-batch (``small`` tokens; the mean over the
    micro-batches of the step), and of the step's whole batch (``large``).

    Both parts are averaged over the steps before the ratio is taken. The interval is a jackknife over ten blocks of
    steps, as neighbouring steps are alike. ``PedigreeError`` for fewer than ten steps, or equal batches.
    """
    small_squares, large_squares = np.asarray(small_squares, np.float64), np.asarray(large_squares, np.float64)
    if len(small_squares) < 10:
        raise PedigreeError(f"the noise scale takes at least 10 steps, and a trunk has {len(small_squares)}")
    if not small < large:
        raise PedigreeError(f"micro-batches of {small:g} in batches of {large:g}: the noise shows only between the two")
    gradient = (large * large_squares - small * small_squares) / (large - small)
    noise = (small_squares - large_squares) / (1 / small - 1 / large)
    blocks = np.array_split(np.arange(len(gradient)), 10)
    every = _log_ratio(noise.mean(), gradient.mean())
    left = [_log_ratio(np.delete(noise, block).mean(), np.delete(gradient, block).mean()) for block in blocks]
    sd = np.sqrt((len(blocks) - 1) * np.var(left))
    reach = t.ppf(0.5 + level / 2, len(blocks) - 1) * sd
    return NoiseScale(float(np.exp(every)), float(np.exp(every - reach)), float(np.exp(every + reach)))


def _log_ratio(noise: float, gradient: float) -> float:
    if noise <= 0 or gradient <= 0:
        raise PedigreeError("the gradients are all noise, or none: take more steps, or another size of micro-batch")
    return float(np.log(noise / gradient))
