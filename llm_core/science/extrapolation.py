"""How far a law can be trusted beyond its runs: prediction intervals that widen with the distance, and backtests.

A law's own errors say nothing about the law being wrong. Where the loss goes another way than its form beyond the runs,
intervals from them cover too few runs: 76% instead of 90% on published ones (docs/results/scaling_law.md). Here the
*drift* (standard deviation of the logarithm of the loss per e-fold of compute beyond the runs) is added. It is
estimated by backtests: the smaller ones of the runs forecast the larger ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from llm_core.science.loss_law import Form, LossLaw, fit
from llm_core.science.runs import Floats, Runs

USUAL_DRIFT = 0.008
DRIFT_SPREAD = 0.5
"""The prior: a median, and a standard deviation of the logarithm. With few runs, there are no backtests, and it
decides. The median was chosen on the Chinchilla runs of that page; other runs have not confirmed it yet."""
LEAST_STEP = 1.5
LARGEST_STEP = 15.0
"""Backtests forecast runs of so many times the compute of the largest run that they are fitted to."""


@dataclass(frozen=True)
class Interval:
    """Losses: the expected one, and the bounds between which a run ends with the stated probability."""

    loss: Floats
    low: Floats
    high: Floats

    @property
    def half_width(self) -> Floats:
        """Half of the interval as a share of the expected loss."""
        return (self.high - self.low) / (2 * self.loss)

    def contains(self, loss: ArrayLike) -> NDArray[np.bool_]:
        """Whether each loss lies within its interval."""
        values = np.asarray(loss, np.float64)
        return (self.low <= values) & (values <= self.high)


@dataclass(frozen=True)
class Backtest:
    """Runs that a law of smaller ones forecast: errors of the log loss, their stated standard deviations without
    drift, and the distance in e-folds of compute. ``below``: the largest FLOPs of the smaller ones. ``places``: where
    the runs stand in the table."""

    below: float
    errors: Floats
    sd: Floats
    distance: Floats
    places: NDArray[np.int64]


def interval(
    law: LossLaw,
    parameters: ArrayLike,
    tokens: ArrayLike,
    flops: ArrayLike,
    drift: float,
    level: float = 0.9,
    more_sd: float = 0.0,
) -> Interval:
    """The prediction interval of runs, with the uncertainty of the law, the noise of a run and the drift.

    ``more_sd``: a further standard deviation of the loss's logarithm.
    """
    log = law.log_loss(parameters, tokens)
    distance = np.maximum(np.log(np.asarray(flops, np.float64)) - np.log(law.reach), 0)
    sd = np.sqrt(law.sd(parameters, tokens) ** 2 + law.run_sd**2 + (drift * distance) ** 2 + more_sd**2)
    reach = norm.ppf(0.5 + level / 2) * sd
    return Interval(np.exp(log), np.exp(log - reach), np.exp(log + reach))


def backtests(runs: Runs, form: Form = "additive", most: int = 8) -> list[Backtest]:
    """One backtest for each of some amounts of compute, as far as there are enough runs below and beyond."""
    found = []
    for cut in np.unique(np.quantile(runs.flops, np.linspace(0.35, 0.9, most))):
        below = runs.chosen(runs.flops <= cut)
        places = np.flatnonzero((runs.flops >= LEAST_STEP * cut) & (runs.flops <= LARGEST_STEP * cut))
        beyond = runs.chosen(places)
        if below.lacking() or not len(beyond):
            continue
        law = fit(below, form)
        errors = np.log(beyond.loss) - law.log_loss(beyond.parameters, beyond.tokens)
        sd = np.hypot(law.sd(beyond.parameters, beyond.tokens), law.run_sd)
        found.append(Backtest(float(cut), errors, sd, np.log(beyond.flops / law.reach), places))
    return found


def drift(tests: list[Backtest]) -> float:
    """The drift under which the backtests' errors are likeliest. All runs of one backtest count as one, since their
    errors go the same way."""
    steps = np.geomspace(USUAL_DRIFT / 10, USUAL_DRIFT * 10, 201)

    def likelihood(step: float) -> float:
        prior = -((np.log(step / USUAL_DRIFT) / DRIFT_SPREAD) ** 2) / 2
        return prior + sum(
            float(norm.logpdf(test.errors, scale=np.hypot(test.sd, step * test.distance)).mean()) for test in tests
        )

    return float(steps[np.argmax([likelihood(step) for step in steps])])
