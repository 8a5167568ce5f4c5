"""Which source each position of a run reads. Shares are exact in every cycle; nothing is stored."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.tokens.order import permuted

CYCLE = 1024
"""Positions per cycle. In each cycle every source has exactly its share, which is a multiple of 1 / CYCLE."""


def quotas(weights: Sequence[float]) -> tuple[int, ...]:
    """The number of positions per cycle of every source, by largest remainder (ties: the first source)."""
    total = sum(weights)
    ideal = [weight / total * CYCLE for weight in weights]
    whole = [int(share) for share in ideal]
    order = sorted(range(len(weights)), key=lambda number: (whole[number] - ideal[number], number))
    for number in order[: CYCLE - sum(whole)]:
        whole[number] += 1
    return tuple(whole)


@lru_cache(maxsize=256)
def _cycle(shares: tuple[int, ...], seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
    """For every position of a cycle: its source, and the number of earlier positions of that source in the cycle."""
    ends = np.cumsum(shares)
    slots = permuted(np.arange(CYCLE, dtype=np.int64), CYCLE, seed, number, "mixture")
    sources = np.searchsorted(ends, slots, side="right").astype(np.int64)
    earlier = np.empty(CYCLE, dtype=np.int64)
    for source, share in enumerate(shares):
        earlier[sources == source] = np.arange(share)
    return sources, earlier


class Mixture:
    """Positions of a run ↔ (source, position within that source), for given weights and seed.

    Every cycle of ``CYCLE`` positions has its own random order. The positions within a source ascend, so an epoch of
    the source ends before the next one begins. Raises ``PedigreeError`` for a weight so small that the source has no
    position in a cycle.
    """

    def __init__(self, names: Sequence[str], weights: Sequence[float], seed: int) -> None:
        self.seed = seed
        self.shares = quotas(weights)
        lost = [name for name, share in zip(names, self.shares, strict=True) if share == 0]
        if lost:
            raise PedigreeError(
                f"training.mixture.weights: {', '.join(lost)}: less than 1 of {CYCLE} sequences; give it more weight, "
                "or leave it out"
            )

    def split(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(source, position within the source) for every one of ``positions`` (int64, ascending, contiguous)."""
        if len(self.shares) == 1 or not len(positions):
            return np.zeros(len(positions), dtype=np.int64), positions
        first = int(positions[0]) // CYCLE
        numbers = range(first, int(positions[-1]) // CYCLE + 1)
        cycles = [_cycle(self.shares, self.seed, number) for number in numbers]
        places = positions - first * CYCLE
        sources = np.concatenate([sources for sources, _ in cycles])[places]
        earlier = np.concatenate([earlier for _, earlier in cycles])[places]
        return sources, positions // CYCLE * np.array(self.shares)[sources] + earlier

    def join(self, source: int, own: np.ndarray) -> np.ndarray:
        """The positions of the run that ``split`` sends to ``own`` of ``source``."""
        if len(self.shares) == 1:
            return own
        cycles, earlier = np.divmod(own, self.shares[source])
        found = np.empty(len(own), dtype=np.int64)
        for place, (number, rank) in enumerate(zip(cycles.tolist(), earlier.tolist(), strict=True)):
            sources, _ = _cycle(self.shares, self.seed, number)
            found[place] = number * CYCLE + np.flatnonzero(sources == source)[rank]
        return found

    def counts(self, positions: int) -> list[int]:
        """How many of the first ``positions`` of a run each source has."""
        cycles, rest = divmod(positions, CYCLE)
        sources, _ = self.split(cycles * CYCLE + np.arange(rest, dtype=np.int64))
        ends = np.bincount(sources, minlength=len(self.shares)).tolist()
        return [cycles * share + end for share, end in zip(self.shares, ends, strict=True)]
