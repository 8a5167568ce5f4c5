"""The best learning rate of a sweep, and how it moves with size, text and batch.

Near its minimum the loss is a parabola in the logarithm of the rate. ``RateLaw`` is the power law of Li et al. (2025,
"Step Law"), whose exponents are the prior here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from llm_core.errors import PedigreeError
from llm_core.science.runs import Floats

WINDOW = 1.5
"""Rates within so many e-folds of the best one belong to the parabola."""
STEP_LAW = np.array([-0.713, 0.307, 0.0])
"""Exponents of parameters, tokens and batch in the best rate of AdamW (Li et al., 2025)."""
_PRIOR_SD = np.array([0.4, 0.4, 0.3])
_LEAST_CURVATURE = 1e-4


@dataclass(frozen=True)
class BestRate:
    """The minimum of a sweep. ``log_sd``: standard error of the rate's logarithm. ``curvature``: second derivative of
    the loss by the rate's logarithm. ``at_edge``: the minimum is not inside the rates that were tried. It lies at one
    end of them or beyond, or the parabola is flat."""

    rate: float
    log_sd: float
    loss: float
    curvature: float
    at_edge: bool

    def regret(self, rate: float) -> float | None:
        """What ``rate`` costs over the best one, in the unit of the loss; None where the best one is not known."""
        return None if self.at_edge else self.curvature / 2 * float(np.log(rate / self.rate)) ** 2


def best_rate(rates: ArrayLike, losses: ArrayLike, sd: float) -> BestRate:
    """The minimum of a weighted parabola through the losses of a sweep near its best rate.

    ``sd``: of a run's loss between seeds. A rate with several runs (seeds) counts with their mean. Rates at which a
    loss is no number (a run diverged) are left out. ``PedigreeError`` for fewer than three others.
    """
    rates, losses, counts = averaged(rates, losses)
    finite = np.isfinite(losses)
    logs, values, errors = np.log(rates[finite]), losses[finite], sd / counts[finite] ** 0.5
    if len(logs) < 3:
        raise PedigreeError(f"{len(logs)} learning rates with a finite loss; a parabola takes three")
    lowest = int(np.argmin(values))
    near = np.abs(logs - logs[lowest]) <= WINDOW
    if near.sum() < 3:
        near = np.argsort(np.argsort(np.abs(logs - logs[lowest]), kind="stable")) < 3
    middle = logs[lowest]
    places = logs[near] - middle
    terms = np.stack([places**2, places, np.ones(near.sum())], axis=1)
    values_near = values[near]
    # The loss is a parabola only near the minimum: points high above it count less.
    weights = 1 / (errors[near] ** 2 + (0.2 * (values_near - values_near.min())) ** 2)
    inverse = np.linalg.inv(terms.T @ (weights[:, None] * terms))
    square, slope, constant = inverse @ (terms.T @ (weights * values_near))
    if square <= _LEAST_CURVATURE:
        return BestRate(float(np.exp(middle)), np.inf, float(values[lowest]), 0.0, True)
    place = -slope / (2 * square)
    gradient = np.array([slope / (2 * square**2), -1 / (2 * square), 0.0])
    low, high = logs[0] - middle, logs[-1] - middle
    at_edge = lowest in (0, len(logs) - 1) or not low < place < high
    place = float(np.clip(place, low, high))
    return BestRate(
        float(np.exp(middle + place)),
        float(np.sqrt(gradient @ inverse @ gradient)),
        float(square * place**2 + slope * place + constant),
        float(2 * square),
        bool(at_edge),
    )


def averaged(rates: ArrayLike, losses: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """The different rates in rising order, the mean loss at each, and its number of runs. The mean is infinite where a
    run diverged."""
    different, which, counts = np.unique(np.asarray(rates, np.float64), return_inverse=True, return_counts=True)
    values = np.asarray(losses, np.float64)
    sums = np.bincount(which, np.where(np.isfinite(values), values, np.inf))
    return different, sums / counts, counts.astype(np.float64)


@dataclass(frozen=True)
class RateLaw:
    """ln(rate) = constant + exponents · ln(parameters, tokens, batch in tokens), about ``centre``."""

    constant: float
    exponents: Floats
    covariance: Floats
    centre: Floats

    def rate(self, parameters: float, tokens: float, batch: float) -> float:
        """The best rate that the law predicts."""
        return float(np.exp(self.constant + self._place(parameters, tokens, batch) @ self.exponents))

    def log_sd(self, parameters: float, tokens: float, batch: float) -> float:
        """Standard error of the logarithm of ``rate``."""
        row = np.concatenate([[1.0], self._place(parameters, tokens, batch)])
        return float(np.sqrt(row @ self.covariance @ row))

    def _place(self, parameters: float, tokens: float, batch: float) -> Floats:
        return np.log([parameters, tokens, batch]) - self.centre


def rate_law(
    optima: Sequence[BestRate], parameters: ArrayLike, tokens: ArrayLike, batches: ArrayLike, scatter: float = 0.1
) -> RateLaw:
    """The law through the best rates of sweeps that are not at an edge, each weighted by its error.

    ``scatter``: standard deviation of the logarithm of a best rate about the law, beyond its error. The exponents have
    a prior, so two sizes are enough. ``PedigreeError`` for fewer than two sweeps.
    """
    columns = np.stack(
        [np.broadcast_to(np.log(column), len(optima)) for column in (parameters, tokens, batches)], axis=1
    )
    used = np.array([not best.at_edge for best in optima], bool)
    if used.sum() < 2:
        raise PedigreeError(
            f"{used.sum()} of {len(optima)} sweeps have their best rate inside the rates that were tried; a law takes "
            "two: widen the sweeps"
        )
    centre = columns[used].mean(axis=0)
    rows = np.concatenate([np.ones((used.sum(), 1)), columns[used] - centre], axis=1)
    target = np.log([best.rate for best in optima])[used]
    weights = 1 / (np.array([best.log_sd for best in optima])[used] ** 2 + scatter**2)
    prior = np.diag(np.concatenate([[0.0], _PRIOR_SD**-2.0]))
    covariance = np.linalg.inv(rows.T @ (weights[:, None] * rows) + prior)
    found = covariance @ (rows.T @ (weights * target) + prior @ np.concatenate([[0.0], STEP_LAW]))
    return RateLaw(float(found[0]), found[1:], covariance, centre)
