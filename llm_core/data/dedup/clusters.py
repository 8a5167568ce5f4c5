"""Clusters of equal and nearly equal documents, over all parts, in bounded memory.

Memory per document: about 150 bytes of arrays. Signatures and band keys are in memory-mapped scratch files (4 bytes per
permutation, 8 per band), so the system keeps as much of them in memory as it has room for.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llm_core.data.dedup.signatures import PAIR, read_signatures
from llm_core.data.kernels.clusters import band_keys, equal_to_root, join_band, roots_of
from llm_core.experiment.dedup import DedupSpec, MinHashSpec

_ROUNDS = 8
"""Some documents join a cluster by a chain of small steps and are not similar to its representative. They are clustered
again among themselves, at most so often; what is left then is kept."""


@dataclass(frozen=True)
class Clusters:
    """Arrays [n]; documents are numbered in the order of ranking.

    ``representative`` (int64): the document that is kept in place of each (itself if it is kept). ``similarity``
    (float64): estimated similarity to it, 1 for equal folded texts. ``exact`` (bool): whether their folded texts are
    equal.
    """

    representative: np.ndarray
    similarity: np.ndarray
    exact: np.ndarray


def find_clusters(paths: Sequence[Path], order: np.ndarray, dedup: DedupSpec, scratch: Path) -> Clusters:
    """The clusters of all documents. ``paths``: their signatures, part by part; ``order``: their ranking."""
    count = len(order)
    if dedup.method == "none" or not count:
        return Clusters(np.arange(count), np.ones(count), np.ones(count, dtype=bool))
    firsts = first_of_equals(read_field(paths, "key", PAIR)[order])
    if dedup.method == "exact":
        return Clusters(firsts, np.ones(count), np.ones(count, dtype=bool))
    shingled = read_field(paths, "shingles", np.uint32)[order] > 0
    chosen = np.flatnonzero(shingled & (firsts == np.arange(count)))  # the first document of each text
    position = np.full(count, -1, dtype=np.int64)
    position[order[chosen]] = np.arange(len(chosen))
    minhashes, bands = _scratch(paths, position, len(chosen), dedup.minhash, scratch)
    roots = _near_roots(minhashes, bands, dedup.minhash)
    equal = equal_to_root(minhashes, roots)
    representative, similarity = np.arange(count), np.ones(count)
    shutil.rmtree(scratch)
    representative[chosen] = chosen[roots]
    similarity[chosen] = equal / dedup.minhash.permutations
    return Clusters(representative[firsts], similarity[firsts], representative[firsts] == firsts)


def read_field(paths: Sequence[Path], field: str, dtype: np.dtype | type) -> np.ndarray:
    """One field of all signatures, in the order of the parts."""
    return np.concatenate([np.empty(0, dtype), *(read_signatures(path)[field] for path in paths)])


def first_of_equals(pairs: np.ndarray) -> np.ndarray:
    """int64 [n]: for each of ``pairs`` (``PAIR``), the index of the first equal one."""
    order = np.lexsort((pairs["low"], pairs["high"]))  # stable: the first of equals comes first
    ordered = pairs[order]
    begins = np.ones(len(pairs), dtype=bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    firsts = np.empty(len(pairs), dtype=np.int64)
    firsts[order] = order[begins][np.cumsum(begins) - 1]
    return firsts


def least_equal(minhash: MinHashSpec) -> int:
    """The least number of equal values in the signatures of near duplicates."""
    return max(1, int(np.ceil(minhash.min_similarity * minhash.permutations - 1e-9)))


def _scratch(
    paths: Sequence[Path], position: np.ndarray, count: int, minhash: MinHashSpec, scratch: Path
) -> tuple[np.ndarray, np.ndarray]:
    """(uint32 [count, permutations] signatures, uint64 [bands, count] band keys) of the documents with a ``position``,
    memory-mapped.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    if not count:  # an empty file can't be mapped
        return np.empty((0, minhash.permutations), dtype=np.uint32), np.empty((minhash.bands, 0), dtype=np.uint64)
    minhashes = np.memmap(scratch / "minhashes", dtype=np.uint32, mode="w+", shape=(count, minhash.permutations))
    bands = np.memmap(scratch / "bands", dtype=np.uint64, mode="w+", shape=(minhash.bands, count))
    start = 0
    for path in paths:
        rows = read_signatures(path)
        places = position[start : start + len(rows)]
        start += len(rows)
        numbers = np.ascontiguousarray(rows["minhash"][places >= 0])
        found = np.empty((minhash.bands, len(numbers)), dtype=np.uint64)
        band_keys(numbers, minhash.rows, found)
        minhashes[places[places >= 0]] = numbers
        bands[:, places[places >= 0]] = found
    return minhashes, bands


def _near_roots(minhashes: np.ndarray, bands: np.ndarray, minhash: MinHashSpec) -> np.ndarray:
    """int64 [n]: for every signature, the first one of its cluster. They are similar."""
    least = least_equal(minhash)
    roots = np.arange(len(minhashes))
    active = roots.copy()
    for _ in range(_ROUNDS):
        everything = len(active) == len(minhashes)
        numbers = minhashes if everything else np.ascontiguousarray(minhashes[active])
        parents = np.arange(len(active))
        for band in bands:
            keys = np.array(band) if everything else np.array(band[active])
            join_band(keys, np.argsort(keys, kind="stable"), numbers, parents, least)
        found = roots_of(parents)
        alike = equal_to_root(numbers, found) >= least
        roots[active[alike]] = active[found[alike]]
        active = active[~alike]
        if not len(active):
            break
    return roots
