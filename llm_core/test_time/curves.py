"""How often the answer that is chosen from k samples is right, for every k up to the K that were drawn.

K answers are drawn once. A value for k is the mean over all subsets of k of them, as in Chen et al. (2021): it is
unbiased for k new samples, and uses every answer. No subset is drawn; all are counted.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb

import numpy as np

Curve = list[float]
"""Element k − 1: the probability that the chosen one of k answers is right."""


def any_right(right: int, samples: int) -> Curve:
    """At least one of k is right: what a perfect judge would reach (pass@k). ``right`` of ``samples`` are."""
    return [1 - comb(samples - right, k) / comb(samples, k) for k in range(1, samples + 1)]


def best_of(scores: Sequence[float], right: Sequence[bool]) -> Curve:
    """The answer with the highest score is chosen. Equal scores: one of them by chance."""
    samples = len(scores)
    order = sorted(range(samples), key=lambda place: -scores[place])
    shares = np.array([float(right[place]) for place in order])
    ranked = [scores[place] for place in order]
    for score in set(ranked):
        same = [rank for rank, other in enumerate(ranked) if other == score]
        shares[same] = shares[same].mean()
    # The answer of rank r is the best of a subset if the others of it are among the samples − 1 − r worse ones.
    return [
        sum(share * comb(samples - 1 - rank, k - 1) for rank, share in enumerate(shares)) / comb(samples, k)
        for k in range(1, samples + 1)
    ]


def majority(answers: Sequence[Hashable | None], gold: Hashable) -> Curve:
    """The most frequent answer is chosen (Wang et al., 2022). Equally frequent: one of them by chance.

    None is no answer: it takes a place and no part in the vote.
    """
    samples, counts = len(answers), Counter(answers)
    blank, votes = counts.pop(None, 0), counts.pop(gold, 0)
    won = np.zeros(samples + 1)
    for own in range(1, votes + 1):
        # ways[others, tied]: of choosing this many other answers, of which none is more frequent than ``own``, and
        # this many are as frequent.
        ways = np.zeros((samples + 1, len(counts) + 1))
        ways[0, 0] = 1
        for rival in counts.values():
            ways = _with(
                ways, [(chosen, int(chosen == own), comb(rival, chosen)) for chosen in range(min(rival, own) + 1)]
            )
        ways = _with(ways, [(chosen, 0, comb(blank, chosen)) for chosen in range(blank + 1)])
        shares = (ways / (1 + np.arange(ways.shape[1]))).sum(axis=1)
        won[own:] += comb(votes, own) * shares[: samples + 1 - own]
    return [float(won[k] / comb(samples, k)) for k in range(1, samples + 1)]


def _with(ways: np.ndarray, choices: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """``ways`` after one more answer. ``choices``: (places that it takes, whether it is tied, ways of choosing them).

    What leaves the table can't be part of a subset.
    """
    after = np.zeros_like(ways)
    rows, columns = ways.shape
    for places, tied, count in choices:
        after[places:, tied:] += count * ways[: rows - places, : columns - tied]
    return after
