"""Which eval suite can decide at which size: the gain from more text over the noise between seeds.

The ratio of signal to noise says how often a suite ranks two small models rightly (Heineman et al., 2025), and many
suites can't at small sizes (Magnusson et al., 2025).
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t

from llm_core.science.runs import Floats
from llm_core.science.seed_noise import SeedNoise, by_size, pooled

RANKED = 0.8
"""A suite decides when it ranks at least so many pairs rightly."""
LEVEL = 0.05
"""The chance at which a gain is taken for one where there is none."""


@dataclass(frozen=True)
class Signal:
    """What a suite can tell at one size.

    ``score``: mean of the largest budget. ``gain``: of the score, per doubling of the text. ``noise``: standard
    deviation between seeds, pooled over sizes. ``ranked``: the expected share of pairs of single runs, one with twice
    the text of the other, of which the one with more text has the better score. ``reason``: why it does not decide;
    empty where it does.
    """

    size: Hashable
    score: float
    gain: float | None
    noise: float | None
    ranked: float | None
    reason: str

    @property
    def decides(self) -> bool:
        """Whether scores of single runs can be compared."""
        return not self.reason


def signals(
    scores: ArrayLike,
    sizes: Sequence[Hashable],
    tokens: Sequence[int],
    above_chance: Sequence[bool],
    step: float = 0.0,
) -> list[Signal]:
    """The signal of each size, from finished runs of several budgets and seeds.

    ``scores``: one per run, higher is better. ``above_chance``: whether the run's interval is above chance. ``step``:
    the least difference of two scores (one item); the noise is at least that, since a few seeds can agree by chance.
    """
    values = np.asarray(scores, np.float64)
    noise = pooled(by_size(zip(sizes, tokens, values.tolist(), strict=True)).values())
    if noise is not None:
        noise = SeedNoise(max(noise.variance, step**2), noise.freedom)
    found = []
    for size in dict.fromkeys(sizes):
        budgets: dict[int, list[int]] = defaultdict(list)
        for place, (other, budget) in enumerate(zip(sizes, tokens, strict=True)):
            if other == size:
                budgets[budget].append(place)
        least, most = min(budgets), max(budgets)
        above = any(above_chance[place] for place in budgets[most])
        found.append(_signal(size, values[budgets[least]], values[budgets[most]], np.log2(most / least), noise, above))
    return found


def _signal(
    size: Hashable, first: Floats, last: Floats, doublings: float, noise: SeedNoise | None, above: bool
) -> Signal:
    """Of the runs with the ``first`` budget and the ``last`` one, so many ``doublings`` of the text apart."""
    score = float(last.mean())
    if noise is None:
        return Signal(size, score, None, None, None, "no size has several seeds, so the noise is not known")
    if not doublings:
        return Signal(size, score, None, noise.sd, None, "the size has one budget, so no run should be better")
    whole = score - float(first.mean())
    gain = whole / float(doublings)
    # With a tiny number, equal seeds rank all pairs by the gain.
    ranked = float(t.cdf(gain / (np.sqrt(2) * noise.sd + 1e-12), noise.freedom))
    error = noise.sd * np.sqrt(1 / len(first) + 1 / len(last))
    reason = ""
    if not above:
        reason = "its score can't be told from chance"
    elif whole <= 0:
        reason = "more text does not improve it"
    elif whole <= t.ppf(1 - LEVEL, noise.freedom) * error:
        reason = "what it gains from more text may be noise between seeds"
    elif ranked < RANKED:
        reason = f"it ranks {ranked:.0%} of pairs rightly, and {RANKED:.0%} are needed"
    return Signal(size, score, gain, noise.sd, ranked, reason)
