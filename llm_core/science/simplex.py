"""Mixtures that fill the simplex evenly: the weights of the runs of a mixture study. numpy only, since plans use it."""

import numpy as np

from llm_core.science.runs import Floats
from llm_core.tokens.mixture import CYCLE, quotas

_TRIES = 32_768


def spread(count: int, least: float, most: Floats, seed: int) -> Floats:
    """At most ``count`` mixtures with weights from ``least`` to ``most`` (sources,): (mixtures, sources).

    The points are a Kronecker sequence (Niederreiter, 1992) with a random shift, mapped to the simplex by breaking a
    stick, and those above ``most`` are left out. So more mixtures keep the earlier ones. Weights are whole numbers of
    the loader's cycle, so their rounding changes nothing, and two sources have fewer than 1,024 mixtures.
    """
    sources = len(most)
    dimensions = sources - 1
    root = 2.0
    for _ in range(60):  # root^(d + 1) = root + 1
        root = (1 + root) ** (1 / (dimensions + 1))
    shift = np.random.SeedSequence([seed, sources]).generate_state(dimensions) / 2.0**32
    found: dict[tuple[int, ...], None] = {}
    for first in range(0, _TRIES, 8192):
        before = len(found)
        numbers = np.arange(first + 1, first + 8193)[:, None]
        places = (shift + numbers * root ** -np.arange(1.0, dimensions + 1)) % 1
        rest, parts = np.ones(len(places)), []
        for number in range(dimensions):
            broken = rest * (1 - (1 - places[:, number]) ** (1 / (dimensions - number)))
            parts.append(broken)
            rest = rest - broken
        weights = least + (1 - sources * least) * np.stack([*parts, rest], axis=1)
        for row in weights[(weights <= most).all(axis=1)].tolist():
            found[quotas(row)] = None
            if len(found) == count:
                return np.array(list(found), np.float64) / CYCLE
        if before == len(found):
            break
    return np.array(list(found), np.float64).reshape(-1, sources) / CYCLE
