"""Compares the sides of all techniques: speed, memory and loss, with intervals, in pairs by round."""

import math
import statistics
from collections.abc import Mapping
from typing import Any

from llm_core.optimizations.results import Measured
from llm_core.science.comparison import compare

Pairs = dict[str, list[float]]


def differences(measured: Mapping[str, Measured], clock: str, sign: int) -> Pairs:
    """Technique → per round ``sign`` times the logarithm of the ratio of a clock, after over before."""
    return {
        name: [
            sign * (math.log(after[clock]) - math.log(before[clock]))
            for before, after in zip(found.clocks["before"], found.clocks["after"], strict=True)
        ]
        for name, found in measured.items()
        if all(run[clock] > 0 for runs in found.clocks.values() for run in runs)
    }


def losses(measured: Mapping[str, Measured]) -> Pairs:
    """Technique → per round the logarithm of the ratio of the losses; without rounds in which one is not finite."""
    found = {
        name: [
            math.log(after / before)
            for before, after in zip(results.before, results.after, strict=True)
            if before is not None and after is not None
        ]
        for name, results in measured.items()
    }
    return {name: values for name, values in found.items() if values}


def judged(pairs: Pairs, margin: float) -> dict[str, dict[str, Any]]:
    """Technique → difference, 95% interval and verdict. All rows are judged together: the variance is pooled, and the
    level is shared among them (``llm_core.science.comparison``)."""
    if not pairs:
        return {}
    return {
        one.idea: {"difference": one.difference, "low": one.low, "high": one.high, "verdict": one.verdict}
        for one in compare(pairs, margin)
    }


def middle(found: Measured, side: str, clock: str) -> float:
    """The median over the rounds."""
    return statistics.median(run[clock] for run in found.clocks[side])


def mean_loss(losses: list[float | None]) -> float | None:
    """The mean over the rounds; None where one is not finite."""
    finite = [loss for loss in losses if loss is not None]
    return statistics.fmean(finite) if len(finite) == len(losses) and finite else None
