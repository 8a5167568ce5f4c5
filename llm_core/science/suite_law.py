"""The score of an eval suite in two steps: held-out loss → bits per byte of the gold answer → accuracy.

The steps are those of task scaling laws (Grattafiori et al., 2024; Bhagia et al., 2024). The first one starts at the
held-out loss, for which there is a law with an interval already. Around the runs, one loss is nearly a power of another
(Brandfonbrener et al., 2024); a prior on how far the power changes widens the interval beyond them. The second step is
a sigmoid from chance to 1, of the bits or of their logarithm: runs far from 1 can't tell which.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, stdtrit

from llm_core.errors import PedigreeError
from llm_core.science.runs import Floats

LEAST_RUNS = 4
LEAST_TRUNKS = 3
BEND_SD = 0.5
"""Prior of the power's change per e-fold of the loss: a standard deviation."""
STEEP_MEDIAN, STEEP_SD = 5.0, 0.8
"""Prior of the sigmoid's steepness, per share of the lowest bits or per e-fold: a median, and a standard deviation of
the logarithm."""
_BOX = np.array([[np.log(0.5), np.log(50)], [-10.0, 6.0]])
"""The sigmoids that are tried: logarithms of the steepness, and levels (log odds at the lowest bits of the runs)."""
_GRID, _ROUNDS, _TAIL = 21, 3, 8.0
_LEAST_SD = 5e-4
_PRIOR_FREEDOM = 2.0
_BITS, _NOISE = 15, 5
"""Quantiles that stand for the distributions of the bits and of a run's noise."""


class Prediction(NamedTuple):
    """The expected score of a run on the same items, and its 90% interval."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class Bits:
    """The bits per byte of the gold answer that a run is expected to have: the logarithm, its standard deviation, and
    the degrees of freedom of that."""

    log: float
    sd: float
    freedom: float

    def log_quantiles(self, shares: ArrayLike) -> Floats:
        """Quantiles of the logarithm."""
        return np.asarray(self.log + self.sd * stdtrit(self.freedom, np.asarray(shares, np.float64)), np.float64)

    @property
    def prediction(self) -> Prediction:
        """The bits with their 90% interval."""
        low, high = np.exp(self.log_quantiles([0.05, 0.95]))
        return Prediction(float(np.exp(self.log)), float(low), float(high))


def gold_bits(loss: ArrayLike, bits: ArrayLike, trunks: ArrayLike, log_loss: float, log_loss_sd: float) -> Bits:
    """The bits per byte of the gold answer of a run with this forecast of its held-out loss.

    ``loss``, ``bits``, ``trunks``: of the finished runs. ``PedigreeError`` for too few runs, or runs of equal loss.
    """
    logs, target = np.log(np.asarray(loss, np.float64)), np.log(np.asarray(bits, np.float64))
    groups = len(np.unique(np.asarray(trunks)))
    if len(logs) < LEAST_RUNS or groups < LEAST_TRUNKS:
        raise PedigreeError(
            f"{len(logs)} runs of {groups} trunks; a suite's forecast takes {LEAST_RUNS} runs of {LEAST_TRUNKS}"
        )
    middle = float(logs.mean())
    x = logs - middle
    if np.ptp(x) < 10 * _LEAST_SD:
        raise PedigreeError("the runs have nearly the same held-out loss; a suite's forecast takes runs that differ")
    straight = np.stack([np.ones_like(x), x], axis=1)
    missed = float(np.linalg.lstsq(straight, target, rcond=None)[1].sum())
    run_sd = max(float(np.sqrt(missed / (len(x) - 2))), _LEAST_SD)
    independent = _independent(trunks)
    fit_sd = run_sd * float(np.sqrt(len(x) / independent))
    design = np.column_stack([straight, x**2 / 2])
    covariance = np.linalg.inv(design.T @ design / fit_sd**2 + np.diag([0.0, 0.0, BEND_SD**-2]))
    law = covariance @ design.T @ target / fit_sd**2
    far = log_loss - middle
    place = np.array([1.0, far, far**2 / 2])
    of_fit = run_sd**2 + float(place @ covariance @ place)
    of_loss = ((law[1] + law[2] * far) * log_loss_sd) ** 2
    # Welch and Satterthwaite: the part from the loss is known as well as its own interval says.
    freedom = (independent - 2) * ((of_fit + of_loss) / of_fit) ** 2
    return Bits(float(place @ law), float(np.sqrt(of_fit + of_loss)), float(freedom))


def accuracy(bits: ArrayLike, scores: ArrayLike, trunks: ArrayLike, chance: float, items: int, at: Bits) -> Prediction:
    """The accuracy of a run with the bits ``at``: a sigmoid of the bits from ``chance`` to 1.

    ``bits``, ``scores``, ``trunks``: of the finished runs. All sigmoids count by how well they fit the runs, so one of
    which the runs show only the foot has a wide interval. The noise of a run has a weak prior: half of the sampling
    error of ``items``, since all runs answer the same ones.
    """
    logs, found = np.log(np.asarray(bits, np.float64)), np.asarray(scores, np.float64)
    share = min(max(float(found.mean()), 1 / items), 1 - 1 / items)
    prior = _PRIOR_FREEDOM * share * (1 - share) / items / 4
    independent = _independent(trunks)
    freedom = independent + _PRIOR_FREEDOM
    beyond = at.log_quantiles(_shares(_BITS)) - logs.min()
    outcomes, weights = [], []
    for linear in (False, True):
        places = _places(logs - logs.min(), linear)

        def fits(curves: Floats, places: Floats = places) -> tuple[Floats, Floats]:
            missed = ((found[:, None] - _sigmoids(curves, places, chance)) ** 2).mean(axis=0) * independent + prior
            return missed, -freedom / 2 * np.log(missed) - ((curves[0] - np.log(STEEP_MEDIAN)) / STEEP_SD) ** 2 / 2

        curves, area = _zoomed(fits)
        missed, fit = fits(curves)
        means = _sigmoids(curves, _places(beyond, linear), chance)
        noise = np.sqrt(missed / freedom) * stdtrit(freedom, _shares(_NOISE))[:, None]
        outcomes.append(np.clip(means[:, None, :] + noise[None, :, :], 0, 1).ravel())
        weights.append(np.broadcast_to(np.log(area) + fit, (_BITS, _NOISE, len(fit))).ravel())
    logs_of_weights = np.concatenate(weights)
    shares = np.exp(logs_of_weights - logs_of_weights.max())
    return Prediction(*_quantiles(np.concatenate(outcomes), shares, (0.5, 0.05, 0.95)))


def _independent(trunks: ArrayLike) -> float:
    """The number of independent runs that tell as much. Runs of one trunk are taken to be half alike, which is a design
    effect (Kish, 1965) of 1 + (runs per trunk − 1) / 2."""
    _, counts = np.unique(np.asarray(trunks), return_counts=True)
    return float(counts.sum() / (1 + (counts.mean() - 1) / 2))


def _zoomed(fits: Callable[[Floats], tuple[Floats, Floats]]) -> tuple[Floats, float]:
    """A grid of sigmoids (2, curves) over those that fit about as well as the best one, and the area of its cells."""
    box = _BOX
    for _ in range(_ROUNDS):
        axes = [np.linspace(low, high, _GRID) for low, high in box]
        curves = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")])
        cells = np.array([axis[1] - axis[0] for axis in axes])
        fit = fits(curves)[1]
        good = curves[:, fit > fit.max() - _TAIL]
        box = np.stack([good.min(axis=1) - cells, good.max(axis=1) + cells], axis=1)
    return good, float(cells.prod())


def _places(logs: Floats, linear: bool) -> Floats:
    """How far the bits are above the lowest of the runs: as a share of these, or as a logarithm."""
    return np.asarray(np.expm1(logs) if linear else logs, np.float64)


def _sigmoids(curves: Floats, places: Floats, chance: float) -> Floats:
    """Accuracies of shape (places, curves). ``curves``: logarithms of the steepness, and levels."""
    steepness, level = np.exp(curves[0]), curves[1]
    return np.asarray(chance + (1 - chance) * expit(level - steepness * places[:, None]), np.float64)


def _shares(count: int) -> Floats:
    return (np.arange(count) + 0.5) / count


def _quantiles(values: Floats, weights: Floats, shares: tuple[float, ...]) -> list[float]:
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return [float(values[order[min(int(np.searchsorted(reached, share)), len(order) - 1)]]) for share in shares]
