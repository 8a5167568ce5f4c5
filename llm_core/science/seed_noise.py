"""The noise between runs that differ only in their seed."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SeedNoise:
    """``variance`` between seeds, and its degrees of ``freedom``: the runs beyond the first of each size."""

    variance: float
    freedom: int

    @property
    def sd(self) -> float:
        """The standard deviation."""
        return float(np.sqrt(self.variance))


def by_size(runs: Iterable[tuple[Hashable, Hashable, float]]) -> dict[Hashable, SeedNoise]:
    """The noise of each size that has several seeds. ``runs``: size, budget and value of each run.

    Budgets of one trunk share most of their steps, so a size's budgets count as one sample: their variances are
    averaged, and the degrees of freedom are those of its seeds.
    """
    groups: dict[tuple[Hashable, Hashable], list[float]] = defaultdict(list)
    for size, budget, value in runs:
        groups[size, budget].append(value)
    repeated: dict[Hashable, list[list[float]]] = defaultdict(list)
    for (size, _), values in groups.items():
        if len(values) > 1:
            repeated[size].append(values)
    return {
        size: SeedNoise(
            float(np.mean([np.var(values, ddof=1) for values in found])), min(len(values) - 1 for values in found)
        )
        for size, found in repeated.items()
    }


def pooled(noise: Iterable[SeedNoise]) -> SeedNoise | None:
    """The noise over all sizes, weighted by their degrees of freedom; None without any."""
    found = list(noise)
    total = sum(size.freedom for size in found)
    if not total:
        return None
    return SeedNoise(sum(size.freedom * size.variance for size in found) / total, total)
