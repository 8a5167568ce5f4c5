"""Compares the sides of all techniques: speed, memory and loss, with intervals."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

from llm_core.optimizations.results import Measured
from llm_core.science.comparison import Comparison, compare, compare_unlike

Judged = dict[str, dict[str, Any]]
"""Technique → difference of the logarithms, its 95% interval, and the verdict; below 0 the technique is better."""


def by_clock(measured: Mapping[str, Measured], clock: str, sign: int, margin: float) -> Judged:
    """``sign``: −1 for a clock that is better when it is larger. Runs with others on the machine may be slow by
    chance, so the noise of a row is its own (``llm_core.science.comparison.compare_unlike``)."""
    before, after = (
        {
            name: [sign * math.log(run[clock]) for run in found.clocks[side]]
            for name, found in measured.items()
            if all(run[clock] > 0 for runs in found.clocks.values() for run in runs)
        }
        for side in ("before", "after")
    )
    return _table(compare_unlike(before, after, margin)) if before else {}


def by_loss(measured: Mapping[str, Measured], margin: float) -> Judged:
    """In pairs by seed, with a variance that all rows share. Rounds with a loss that is not finite are left out."""
    pairs = {
        name: [
            math.log(after / before)
            for before, after in zip(found.before, found.after, strict=True)
            if before is not None and after is not None
        ]
        for name, found in measured.items()
    }
    pairs = {name: values for name, values in pairs.items() if values}
    enough = any(len(values) > 1 for values in pairs.values())
    return _table(compare(pairs, margin)) if enough else {}


def _table(compared: list[Comparison]) -> Judged:
    return {
        one.idea: {"difference": one.difference, "low": one.low, "high": one.high, "verdict": one.verdict}
        for one in compared
    }


def middle(found: Measured, side: str, clock: str) -> float:
    """The median over the rounds."""
    return statistics.median(run[clock] for run in found.clocks[side])


def mean_loss(losses: list[float | None]) -> float | None:
    """The mean over the rounds; None where one is not finite."""
    finite = [loss for loss in losses if loss is not None]
    return statistics.fmean(finite) if len(finite) == len(losses) and finite else None
