"""Finds documents of one set that are equal or nearly equal to a document of another: leakage between splits."""

from dataclasses import dataclass

import numpy as np

from llm_core.data.dedup.clusters import least_equal
from llm_core.data.dedup.signatures import PAIR
from llm_core.data.kernels.clusters import band_keys, nearest
from llm_core.experiment.dedup import MinHashSpec


@dataclass(frozen=True)
class Leaks:
    """Per document: whether it is ``equal`` or ``near`` to another (bool [n]); for near ones also the ``similarity``
    (float64 [n]) and the other's ``doc_ids`` (``PAIR`` [n])."""

    equal: np.ndarray
    near: np.ndarray
    similarity: np.ndarray
    doc_ids: np.ndarray


class HeldoutIndex:
    """An index of signatures. Memory per document: 4 bytes per permutation, 16 per band, and 16 for its key.

    It has twice as many bands as clustering, with half the rows, so it finds pairs that clustering may miss. If
    clustering has 14 bands of 8, two documents of similarity 0.65 share a band with probability 0.996 here (0.36
    there).
    """

    def __init__(self, rows: np.ndarray, minhash: MinHashSpec) -> None:
        self._minhash = minhash
        self._keys = np.array(rows["key"])[np.argsort(rows["key"]["high"], kind="stable")]
        shingled = rows[rows["shingles"] > 0]
        self._doc_ids = np.array(shingled["doc_id"])
        self._numbers = np.ascontiguousarray(shingled["minhash"])
        bands = self._bands(self._numbers)
        self._order = np.argsort(bands, axis=1, kind="stable")
        self._bands_sorted = np.take_along_axis(bands, self._order, axis=1)

    def find(self, rows: np.ndarray) -> Leaks:
        """Which of ``rows`` (signatures) are equal or similar to one in the index."""
        numbers = np.ascontiguousarray(rows["minhash"])
        best, most = nearest(numbers, self._bands(numbers), self._numbers, self._bands_sorted, self._order)
        near = (most >= least_equal(self._minhash)) & (rows["shingles"] > 0)
        doc_ids = np.zeros(len(rows), dtype=PAIR)
        doc_ids[near] = self._doc_ids[best[near]]
        return Leaks(self._are_here(rows["key"]), near, most / self._minhash.permutations, doc_ids)

    def _are_here(self, keys: np.ndarray) -> np.ndarray:
        if not len(self._keys):
            return np.zeros(len(keys), dtype=bool)
        places = np.searchsorted(self._keys["high"], keys["high"]).clip(max=len(self._keys) - 1)
        return self._keys[places] == keys

    def _bands(self, numbers: np.ndarray) -> np.ndarray:
        rows = max(1, self._minhash.rows // 2)
        keys = np.empty((self._minhash.permutations // rows, len(numbers)), dtype=np.uint64)
        band_keys(numbers, rows, keys)
        return keys
