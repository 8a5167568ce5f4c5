"""Documents of one set that are equal or nearly equal to one of another: what a split must not have."""

from dataclasses import dataclass

import numpy as np

from llm_core.data.dedup.clusters import least_equal
from llm_core.data.dedup.signatures import PAIR
from llm_core.data.kernels.clusters import band_keys, nearest
from llm_core.experiment.dedup import MinHashSpec


@dataclass(frozen=True)
class Leaks:
    """bool [n], float64 [n], and ``PAIR`` [n], for the near ones: the similarity, and the ``doc_id`` they are like."""

    equal: np.ndarray
    near: np.ndarray
    similarity: np.ndarray
    doc_ids: np.ndarray


class HeldoutIndex:
    """Signatures to be found again. A document takes 4 bytes a permutation, 16 a band, and 16 for its key.

    It has twice as many bands of half the rows as clustering, so that pairs are seen that clustering may miss: two
    documents of similarity 0.65 share one with probability 0.996 for 14 bands of 8 (0.36 in clustering).
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
        """Which of ``rows`` (signatures) are here, or like one that is."""
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
