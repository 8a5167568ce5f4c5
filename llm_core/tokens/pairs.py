"""The rows of pairs of a split in their order, for all that measures them without training."""

import numpy as np

from llm_core.tokens.loader import Batch, of_documents
from llm_core.tokens.packing import Pairs, Pieces
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.reference import documents_of
from llm_core.tokens.target_mask import target_mask


class PairRows:
    """The pairs of the split that ``reader`` reads, packed as in training into rows of ``length`` tokens."""

    def __init__(self, reader: ShardReader, length: int) -> None:
        self._reader, self._length, self._mask = reader, length, target_mask(reader)
        self._packed = Pairs(reader, length)
        self.rows = self._packed.rows

    def spread(self, tokens: int) -> np.ndarray:
        """Rows of about ``tokens`` tokens, or all that there are, evenly spread."""
        count = min(max(1, tokens // self._length), self.rows)
        return np.arange(count, dtype=np.int64) * self.rows // count

    def pieces(self, rows: np.ndarray) -> Pieces:
        """The documents of ``rows``."""
        return self._packed.pieces(rows)

    def batch(self, rows: np.ndarray) -> Batch:
        """``rows`` as a batch."""
        return of_documents(self._reader, self.pieces(rows), self._length, self._mask)

    def documents(self, rows: np.ndarray) -> np.ndarray:
        """The number in the split of every document in ``rows``, in their order."""
        return documents_of(self._reader.offsets, self.pieces(rows))
