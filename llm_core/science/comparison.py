"""Ideas against a baseline, from pairs of runs with the same seed, data order and validation windows.

With three seeds, an idea's own variance is too uncertain to be of use, and ideas differ in their noise. So each
variance is moderated by those of the others (Smyth, 2004): where they are alike, it is their mean; where they differ,
it stays near its own. An idea that is clearly noisier than the others is judged by its own. All ideas share the runs of
the baseline, so the mean has fewer degrees of freedom than their sum. The p values are adjusted for the number of ideas
(Holm, 1979). Equivalence is two one-sided tests (Schuirmann, 1987). Where seeds are added and all is compared again,
the level is shared out over the looks (Bonferroni).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, polygamma
from scipy.stats import f, t

from llm_core.errors import PedigreeError

Outcome = Literal["better", "worse", "equivalent", "undecided"]
POWER = 0.8
MOST_SEEDS = 1000
LEAST_SPREAD = 1e-3
"""Of the logarithms of variances. Below, the prior has more than two thousand degrees of freedom."""
SHARED = 0.25
"""The correlation of the variances of two ideas: both are compared with the same runs of the baseline, so that their
differences are correlated by a half, and their squares by its square."""
NOISIER = 0.05
"""The level of the F test by which an idea is noisier than the others."""


@dataclass(frozen=True)
class Comparison:
    """An idea against the baseline.

    ``difference``: mean of idea minus baseline, below 0 where the idea is better; ``low`` and ``high``: its interval.
    ``p``: adjusted for all ideas; ``p_equivalent``: that the difference is not within the margin, adjusted too.
    ``seeds_needed``: with which the verdict would be something else than undecided, with a power of 80% if the true
    difference is the one seen; None where it is decided, or no number below ``MOST_SEEDS`` would do.
    """

    idea: str
    seeds: int
    difference: float
    low: float
    high: float
    p: float
    p_equivalent: float
    verdict: Outcome
    seeds_needed: int | None


def compare(
    differences: Mapping[str, Sequence[float]], margin: float, level: float = 0.05, looks: int = 1
) -> list[Comparison]:
    """Compare ideas; ``differences``: idea → one difference per seed (idea minus baseline, paired by seed).

    ``margin``: the difference that does not matter, in the unit of the differences. ``looks``: how often seeds may be
    added and the comparison repeated, this one included. ``PedigreeError`` where no variance can be estimated.
    """
    arrays = {idea: np.asarray(values, np.float64) for idea, values in differences.items()}
    for idea, values in arrays.items():
        if not len(values) or not np.isfinite(values).all():
            raise PedigreeError(f"{idea}: no differences, or one that is no number; count diverged runs apart")
    freedom = np.array([len(values) - 1.0 for values in arrays.values()])
    if freedom.sum() < 1:
        raise PedigreeError("one seed per idea says nothing about the noise between seeds; run at least two")
    own = np.array([values.var(ddof=1) if len(values) > 1 else 0.0 for values in arrays.values()])
    variance, freedom = moderated(own, freedom)
    sd = dict(zip(arrays, np.sqrt(variance).tolist(), strict=True))
    errors = {idea: sd[idea] / len(values) ** 0.5 for idea, values in arrays.items()}
    return _judged(arrays, errors, freedom, margin, level / looks, sd)


def moderated(own: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances and their degrees of freedom, from each idea's ``own`` and its ``freedom`` (0: one seed).

    The own variances are scaled chi-squares about variances that follow a scaled inverse chi-square distribution, whose
    two parameters are estimated from the logarithms (Smyth, 2004). Exact zeros (the idea changes nothing) stay.
    """
    known = (freedom > 0) & (own > 0)
    if not known.any():
        return own, np.maximum(freedom, 1)
    half = freedom[known] / 2
    logs = np.log(own[known]) - digamma(half) + np.log(half)
    spread = float(logs.var(ddof=1) - polygamma(1, half).mean()) if known.sum() > 1 else 0.0
    most = _together(freedom[known])
    chance = 1.645 * float(polygamma(1, half).mean()) * (2 / max(known.sum() - 1, 1)) ** 0.5
    if spread <= max(chance, LEAST_SPREAD):  # no more different than chance makes them
        variance = np.full(len(own), float(np.average(own[known], weights=freedom[known])))
        degrees = np.full(len(own), most)
    else:
        prior = 2 * float(brentq(lambda half: polygamma(1, half) - spread, 1e-3, 1 / LEAST_SPREAD + 1))
        usual = float(np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2)))
        variance = (prior * usual + freedom * own) / (prior + freedom)
        degrees = np.minimum(prior + freedom, most)
    for place in np.flatnonzero(known):
        others = known & (np.arange(len(own)) != place)
        if others.any():
            rest = np.average(own[others], weights=freedom[others])
            if f.sf(own[place] / rest, freedom[place], _together(freedom[others])) < NOISIER:
                variance[place], degrees[place] = own[place], freedom[place]
    nothing = (freedom > 0) & (own == 0)
    variance[nothing] = 0.0
    return variance, degrees


def _together(freedom: np.ndarray) -> float:
    """The degrees of freedom of the mean of variances that are correlated by ``SHARED``."""
    return float(freedom.sum() / (1 + SHARED * (len(freedom) - 1)))


def compare_unlike(
    before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]], margin: float, level: float = 0.05
) -> list[Comparison]:
    """The same where noise differs from idea to idea and a pair does not share it, as that of speed on a busy machine.

    ``before``, ``after``: idea → measurements of both sides, equally many and at least two.

    An idea has the larger of two deviations: that of its own sides, each about its mean, and the median of those of all
    ideas, which is known better. So a noisy idea is not taken for a quiet one, and a quiet one is judged by many runs.
    """
    both = {idea: [np.asarray(side[idea], np.float64) for side in (before, after)] for idea in before}
    own = {idea: float(np.sqrt(np.mean([side.var(ddof=1) for side in sides]))) for idea, sides in both.items()}
    usual = float(np.median(list(own.values())))
    sd = {idea: 2**0.5 * max(value, usual) for idea, value in own.items()}
    differences = {idea: after_side - before_side for idea, (before_side, after_side) in both.items()}
    errors = {idea: sd[idea] / len(values) ** 0.5 for idea, values in differences.items()}
    each = np.array([2 * (len(values) - 1) for values in differences.values()])
    noisy = np.array([value > usual for value in own.values()])
    freedom = np.where(noisy, each, np.maximum(each, each.sum() / 2))  # a median is half as sure as a mean
    return _judged(differences, errors, freedom, margin, level, sd)


def _judged(
    differences: Mapping[str, np.ndarray],
    errors: Mapping[str, float],
    freedom: np.ndarray,
    margin: float,
    share: float,
    sd: Mapping[str, float],
) -> list[Comparison]:
    """``errors``: idea → standard error of its mean difference. ``sd``: deviation of one difference."""
    means = np.array([values.mean() for values in differences.values()])
    error = np.array(list(errors.values()))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = holm(2 * t.sf(np.nan_to_num(np.abs(means) / error), freedom))
        p_equivalent = holm(t.sf(np.nan_to_num((margin - np.abs(means)) / error), freedom))
    reach = t.ppf(1 - share / 2, freedom) * error
    found = []
    for place, (idea, values) in enumerate(differences.items()):
        verdict: Outcome = "undecided"
        if p[place] < share:
            verdict = "better" if means[place] < 0 else "worse"
        elif p_equivalent[place] < share:
            verdict = "equivalent"
        undecided = verdict == "undecided"
        needed = (
            _seeds(abs(means[place]), sd[idea], margin, share, len(differences), len(values)) if undecided else None
        )
        found.append(
            Comparison(
                idea,
                len(values),
                float(means[place]),
                float(means[place] - reach[place]),
                float(means[place] + reach[place]),
                float(p[place]),
                float(p_equivalent[place]),
                verdict,
                needed,
            )
        )
    return found


def holm(p: np.ndarray) -> np.ndarray:
    """The p values adjusted for their number (Holm, 1979): the chance of a single false call stays at the level."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def _seeds(difference: float, sd: float, margin: float, level: float, ideas: int, now: int) -> int | None:
    """The smallest number of seeds above ``now`` that decides, at the strictest of Holm's levels."""
    seeds = np.arange(now + 1, MOST_SEEDS + 1)
    freedom, error = _together(np.ones(ideas)) * (seeds - 1), sd / seeds**0.5
    power = t.ppf(POWER, freedom)
    different = (t.ppf(1 - level / ideas / 2, freedom) + power) * error <= difference
    alike = (t.ppf(1 - level / ideas, freedom) + power) * error <= margin - difference
    enough = seeds[different | alike]
    return int(enough[0]) if len(enough) else None
