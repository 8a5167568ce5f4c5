"""Near duplicates among many signatures: keys of their bands, and clusters by union-find (Tarjan, 1975)."""

import numpy as np

from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import mix

_STEP = np.uint64(0x9E3779B97F4A7C15)

LEADERS = 32
"""Each document with a band key is compared with at most so many others with that key, so the time stays linear."""


@kernel
def band_keys(minhashes, rows, keys):  # type: ignore[no-untyped-def]
    """Fill ``keys`` (uint64 [bands, n]) with hashes of each band's ``rows`` numbers; ``minhashes``: uint32 [n, P]."""
    for document in range(len(minhashes)):
        for band in range(len(keys)):
            value = np.uint64(band)
            for place in range(band * rows, (band + 1) * rows):
                value = mix(value + _STEP + np.uint64(minhashes[document, place]))
            keys[band, document] = value


@kernel
def equal_numbers(one, other):  # type: ignore[no-untyped-def]
    """The number of places in which two signatures agree."""
    equal = 0
    for place in range(len(one)):
        equal += one[place] == other[place]
    return equal


@kernel
def find_root(parents, document):  # type: ignore[no-untyped-def]
    """The root of ``document``: the lowest document of its cluster. Halves the path to it on the way."""
    while parents[document] != document:
        parents[document] = parents[parents[document]]
        document = parents[document]
    return document


@kernel
def _join(minhashes, parents, one, other, least):  # type: ignore[no-untyped-def]
    """Join ``one`` and ``other`` if they and their roots are similar. Returns whether they are in one cluster now."""
    first, second = find_root(parents, one), find_root(parents, other)
    if first == second:
        return True
    if equal_numbers(minhashes[one], minhashes[other]) < least:
        return False
    if equal_numbers(minhashes[first], minhashes[second]) < least:
        return False
    parents[max(first, second)] = min(first, second)
    return True


@kernel
def join_band(keys, order, minhashes, parents, least):  # type: ignore[no-untyped-def]
    """Join documents that have the same key in one band and agree in at least ``least`` numbers.

    ``order`` sorts the band's ``keys`` (stable). ``parents``: the clusters so far, changed in place. Roots must be
    similar, too: otherwise a chain of small steps would put dissimilar texts into one cluster.
    """
    leaders = np.empty(LEADERS, dtype=np.int64)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and keys[order[stop]] == keys[order[start]]:
            stop += 1
        count = 0
        for place in range(start, stop):
            document = order[place]
            joined = False
            for index in range(count):
                if _join(minhashes, parents, leaders[index], document, least):
                    joined = True
                    break
            if not joined and count < LEADERS:
                leaders[count] = document
                count += 1
        start = stop


@kernel
def roots_of(parents):  # type: ignore[no-untyped-def]
    """int64 [n]: the root of every document."""
    roots = np.empty(len(parents), dtype=np.int64)
    for document in range(len(parents)):
        roots[document] = find_root(parents, document)
    return roots


@kernel
def equal_to_root(minhashes, roots):  # type: ignore[no-untyped-def]
    """int64 [n]: the number of places in which every document agrees with its root."""
    equal = np.empty(len(roots), dtype=np.int64)
    for document in range(len(roots)):
        equal[document] = equal_numbers(minhashes[document], minhashes[roots[document]])
    return equal


@kernel
def nearest(minhashes, keys, others, other_keys, other_order):  # type: ignore[no-untyped-def]
    """(int64 [n], int64 [n]): for every signature, the one of ``others`` that agrees with it in most places, among
    those that share a band with it (-1: none does), and the number of these places.

    ``keys``: uint64 [bands, n]; ``other_keys``: uint64 [bands, m] with every band sorted by ``other_order`` (int64).
    """
    best = np.full(len(minhashes), -1, dtype=np.int64)
    most = np.zeros(len(minhashes), dtype=np.int64)
    for document in range(len(minhashes)):
        for band in range(len(keys)):
            key = keys[band, document]
            place = np.searchsorted(other_keys[band], key)
            last = min(place + LEADERS, other_keys.shape[1])
            while place < last and other_keys[band, place] == key:
                other = other_order[band, place]
                place += 1
                if other != best[document]:
                    equal = equal_numbers(minhashes[document], others[other])
                    if equal > most[document]:
                        best[document], most[document] = other, equal
    return best, most
