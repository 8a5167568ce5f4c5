"""The loss on each source as a function of the weights of the sources in training.

The law of Ye et al. (2024, "Data mixing laws"): loss on source i = floor_i + exp(Σ_j effect_ij · weight_j). Its total
is convex, so the best mixture may lie inside the simplex. Like Liu et al. (2024, "RegMix"), the law ranks many mixtures
that were not trained, and mixtures that it has not seen test it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import f, permutation_test, rankdata, t

from llm_core.errors import PedigreeError
from llm_core.science.runs import Floats

FLOORS = np.linspace(0.0, 0.98, 50)
"""Floors that are tried, as shares of the lowest loss."""
LEVEL = 0.05
_RIDGE = 1e-9


@dataclass(frozen=True)
class MixtureLaw:
    """``floors`` (targets,), ``effects`` (targets, sources)."""

    floors: Floats
    effects: Floats

    def losses(self, weights: Floats) -> Floats:
        """The loss on each target, (mixtures, targets), for ``weights`` (mixtures, sources)."""
        return self.floors + np.exp(weights @ self.effects.T)


def fit_mixtures(weights: Floats, losses: Floats) -> MixtureLaw:
    """The law through runs: ``weights`` (runs, sources), ``losses`` (runs, targets).

    For a given floor, the law is a line in the logarithm, so the floor is searched for and the rest is least squares
    (variable projection). A run counts as the logarithm magnifies its error. ``PedigreeError`` for too few runs.
    """
    runs, sources = weights.shape
    if runs < sources + 2:
        raise PedigreeError(f"{runs} runs of {sources} sources; a law of mixtures takes at least {sources + 2}")
    floors, effects = [], []
    for loss in losses.T:
        tried = FLOORS * loss.min()
        above_GR = loss - tried[:, None]  # (floors, runs)
        normal = np.einsum("gr,rs,rt->gst", above_GR**2, weights, weights)
        normal += _RIDGE * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(sources)
        found = np.linalg.solve(normal, np.einsum("gr,rs->gs", above_GR**2 * np.log(above_GR), weights)[..., None])
        missed = ((tried[:, None] + np.exp(found[..., 0] @ weights.T) - loss) ** 2).sum(axis=1)
        floors.append(tried[np.argmin(missed)])
        effects.append(found[np.argmin(missed), :, 0])
    return MixtureLaw(np.array(floors), np.array(effects))


@dataclass(frozen=True)
class Held:
    """How a law predicts mixtures that it was not fitted to. ``p``: how often a random order of them fits as well.
    ``error``: root mean square of the prediction's errors."""

    rank_correlation: float
    p: float
    error: float


def held(predicted: Floats, observed: Floats) -> Held:
    """Compare the predictions for held-out mixtures with their losses, both (mixtures,)."""
    ranks = rankdata(observed)

    def agreement(order: Floats, axis: int = -1) -> Floats:
        centred = order - order.mean(axis=axis, keepdims=True)
        scale = np.sqrt((centred**2).sum(axis=axis) * ((ranks - ranks.mean()) ** 2).sum())
        return np.asarray((centred * (ranks - ranks.mean())).sum(axis=axis) / np.maximum(scale, 1e-300))

    order = rankdata(predicted)
    found = permutation_test(
        (order,), agreement, permutation_type="pairings", alternative="greater", vectorized=True, n_resamples=9999,
        random_state=0,
    )  # fmt: skip
    error = float(np.sqrt(np.mean((predicted - observed) ** 2)))
    return Held(float(found.statistic), float(found.pvalue), error)


def differ(losses: Floats, noise: float, freedom: int) -> bool:
    """Whether the losses of single runs of different mixtures differ by more than the ``noise`` between seeds (a
    standard deviation with so many degrees of ``freedom``), by the F test."""
    if noise == 0:
        return bool(np.ptp(losses) > 0)
    return bool(f.sf(np.var(losses, ddof=1) / noise**2, len(losses) - 1, freedom) < LEVEL)


@dataclass(frozen=True)
class Best:
    """The best of some mixtures. ``place``: its number. ``behind``: how much higher the loss of each mixture is, and
    ``behind_sd`` the standard error of that; ``freedom``: its degrees of freedom."""

    place: int
    behind: Floats
    behind_sd: Floats
    freedom: int

    @property
    def alike(self) -> np.ndarray:
        """Whether each mixture is not worse than the best one by more than the error of that, (mixtures,)."""
        reach = t.ppf(1 - LEVEL, self.freedom) * self.behind_sd
        return np.asarray(self.behind <= reach)


def best_of(candidates: Floats, others: Floats, weights: Floats, losses: Floats, target: Floats) -> Best:
    """The mixture among ``candidates`` (mixtures, sources) with the lowest expected loss, weighted by ``target``.

    ``others``: more mixtures, which are compared with it and come after the candidates. ``weights``, ``losses``: the
    runs, as in ``fit_mixtures``. The standard errors are those of the jackknife over the runs (Tukey, 1958). It holds
    for errors that the targets of a run have in common, and is rather too large than too small (Efron and Stein, 1981).
    """
    runs, sources = weights.shape
    every = np.vstack([candidates, others])

    def total(keep: np.ndarray) -> Floats:
        return np.asarray(fit_mixtures(weights[keep], losses[keep]).losses(every) @ target)

    whole = total(np.ones(runs, bool))
    place = int(np.argmin(whole[: len(candidates)]))
    left_out = np.array([total(np.arange(runs) != run) for run in range(runs)])
    behind = left_out - left_out[:, [place]]
    sd = np.sqrt((runs - 1) / runs * ((behind - behind.mean(axis=0)) ** 2).sum(axis=0))
    return Best(place, whole - whole[place], sd, runs - sources - 1)
