"""Ideas against a baseline, from pairs of runs with the same seed, data order and validation windows.

The variance of the differences is pooled over ideas: with three seeds, an idea's own variance is too uncertain to be of
use. The p values are adjusted for the number of ideas (Holm, 1979). Equivalence is two one-sided tests (Schuirmann,
1987). Where seeds are added and all is compared again, the level is shared out over the looks (Bonferroni).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import norm, t

from llm_core.errors import PedigreeError

Outcome = Literal["better", "worse", "equivalent", "undecided"]
POWER = 0.8
MOST_SEEDS = 1000


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
    freedom = sum(len(values) - 1 for values in arrays.values())
    if freedom < 1:
        raise PedigreeError("one seed per idea says nothing about the noise between seeds; run at least two")
    sd = np.sqrt(sum(((values - values.mean()) ** 2).sum() for values in arrays.values()) / freedom)
    share = level / looks
    errors = {idea: float(sd) / len(values) ** 0.5 for idea, values in arrays.items()}
    return _judged(arrays, errors, freedom, margin, share, {idea: float(sd) for idea in arrays})


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
    freedom: int | np.ndarray,
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
        needed = _seeds(abs(means[place]), sd[idea], margin, share, len(differences)) if undecided else None
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


def _seeds(difference: float, sd: float, margin: float, level: float, ideas: int) -> int | None:
    """The smallest number of seeds that decides, by the normal approximation and the strictest of Holm's levels."""
    two_sided, one_sided = norm.ppf(1 - level / ideas / 2), norm.ppf(1 - level / ideas)
    power = norm.ppf(POWER)
    ways = [(two_sided + power) * sd / difference] if difference > 0 else []
    if difference < margin:
        ways.append((one_sided + power) * sd / (margin - difference))
    seeds = int(np.ceil(min(ways, default=np.inf) ** 2)) if ways and min(ways) ** 2 < MOST_SEEDS else None
    return None if seeds is None else max(seeds, 2)
