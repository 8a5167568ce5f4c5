"""Packings: how a stream of documents becomes rows of at most T targets (``training.packing``).

A row is made of *pieces*: ranges of the stream whose tokens are the row's targets. The input for each target is the
token before it in the stream. So the first token of a document is predicted from the end-of-text token before it, and
the first token of a piece that continues a document from the document's token before the piece.

A packing depends on the documents and T alone. ``llm_core.tokens.order`` shuffles its rows.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np

from llm_core.tokens.best_fit import best_fit
from llm_core.tokens.reader import ShardReader

BLOCK = 1 << 18
"""Documents that are packed together. A larger block pads less and takes more memory."""


class Pieces(NamedTuple):
    """The pieces of some rows, row by row. ``counts``: the number of pieces in each row. int64 arrays."""

    starts: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray


class Packing(Protocol):
    """One source as rows."""

    windows: bool
    """Whether every row is one piece of T targets, which may reach over the ends of documents. Such a row can be cut
    into shorter sequences (``training.sequence_schedule``). Otherwise no piece reaches over the end of a document, and
    a row may be padded."""
    rows: int

    def __init__(self, reader: ShardReader, sequence_length: int) -> None: ...

    def pieces(self, rows: np.ndarray) -> Pieces:
        """The pieces of ``rows``; those of a row are in the order of the stream."""

    def rows_with(self, start: int, stop: int) -> np.ndarray:
        """The rows that have a target among the tokens ``start`` to ``stop`` of the split's stream, ascending."""

    def stats(self) -> dict[str, Any]:
        """Statistics of one epoch, for reports. ``dropped_tokens``: tokens that are in no row; absent means 0."""


class Concat:
    """Windows of T targets, one after the other, across the ends of documents. A last window of fewer is left out.

    Nothing is padded and nothing is stored.
    """

    windows = True

    def __init__(self, reader: ShardReader, sequence_length: int) -> None:
        self._start, self._length = reader.start, sequence_length
        self._tokens = reader.tokens
        self.rows = reader.tokens // sequence_length

    def pieces(self, rows: np.ndarray) -> Pieces:
        """See ``Packing``."""
        lengths = np.full(len(rows), self._length, dtype=np.int64)
        return Pieces(self._start + rows * self._length, lengths, np.ones(len(rows), dtype=np.int64))

    def rows_with(self, start: int, stop: int) -> np.ndarray:
        """See ``Packing``."""
        first = max(0, start - self._start) // self._length
        last = min(self.rows, -(-(stop - self._start) // self._length))
        return np.arange(first, max(first, last), dtype=np.int64)

    def stats(self) -> dict[str, Any]:
        """See ``Packing``."""
        return {"rows": self.rows, "dropped_tokens": self._tokens - self.rows * self._length}


class _OfDocuments:
    """Rows of whole documents. A document longer than T is cropped into pieces of T tokens and a shorter last piece.

    Every token is a target once per epoch. Takes 12 bytes of memory per piece and 8 per row.
    """

    windows = False

    def __init__(self, reader: ShardReader, sequence_length: int) -> None:
        self._length = sequence_length
        self._documents, self._tokens = reader.documents, reader.tokens
        starts, lengths, counts = [], [], []
        for block in range(0, reader.documents, BLOCK):
            piece_starts, piece_lengths = self._pieces_of(reader.offsets[block : block + BLOCK + 1])
            bins, rows = self._bins(piece_lengths)
            order = np.argsort(bins, kind="stable")  # within a row, pieces stay in the order of the stream
            starts.append(piece_starts[order])
            lengths.append(piece_lengths[order].astype(np.int32))
            counts.append(np.bincount(bins, minlength=rows))
        self._starts = _joined(starts)
        self._lengths = np.concatenate([np.empty(0, dtype=np.int32), *lengths])
        self._first = np.concatenate([[0], np.cumsum(_joined(counts))])  # row → its first piece
        self.rows = len(self._first) - 1

    def _pieces_of(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(starts, lengths) of the pieces of the documents between ``offsets``."""
        return cropped(offsets, self._length)

    def _bins(self, lengths: np.ndarray) -> tuple[np.ndarray, int]:
        """The row of each piece of a block (int64), and the number of rows."""
        raise NotImplementedError

    def pieces(self, rows: np.ndarray) -> Pieces:
        """See ``Packing``."""
        first = self._first[rows]
        counts = self._first[rows + 1] - first
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        numbers = np.repeat(first, counts) + within
        return Pieces(self._starts[numbers], self._lengths[numbers].astype(np.int64), counts)

    def rows_with(self, start: int, stop: int) -> np.ndarray:
        """See ``Packing``. Time grows with the number of all pieces."""
        numbers = np.flatnonzero((self._starts < stop) & (self._starts + self._lengths > start))
        return np.unique(np.searchsorted(self._first, numbers, side="right") - 1)

    def stats(self) -> dict[str, Any]:
        """See ``Packing``. ``crops``: the number of cuts inside documents; the model sees no text before a cut."""
        places = self.rows * self._length
        return {
            "rows": self.rows,
            "crops": len(self._starts) - self._documents,
            "padding": places - self._tokens,
            "padding_share": (places - self._tokens) / places if places else 0.0,
        }


class BestFit(_OfDocuments):
    """Several documents per row, chosen so that there is hardly any padding (Ding et al., 2024)."""

    def _bins(self, lengths: np.ndarray) -> tuple[np.ndarray, int]:
        return best_fit(lengths, self._length)


class Pad(_OfDocuments):
    """One document per row, or one piece of a long document."""

    def _bins(self, lengths: np.ndarray) -> tuple[np.ndarray, int]:
        return np.arange(len(lengths), dtype=np.int64), len(lengths)


class Pairs(_OfDocuments):
    """Documents 2i and 2i + 1 side by side in one row, pairs chosen so that there is hardly any padding.

    The packing of preferences, and no choice of an experiment. Pieces 2k and 2k + 1 of a row are a pair. A pair that is
    longer than T is left out whole, and a last document without a partner, too.
    """

    def _pieces_of(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sizes = np.diff(offsets[: len(offsets) - (len(offsets) - 1) % 2])
        kept = np.repeat(sizes.reshape(-1, 2).sum(axis=1) <= self._length, 2)
        return offsets[: len(sizes)][kept], sizes[kept]

    def _bins(self, lengths: np.ndarray) -> tuple[np.ndarray, int]:
        bins, rows = best_fit(lengths.reshape(-1, 2).sum(axis=1), self._length)
        return np.repeat(bins, 2), rows

    def stats(self) -> dict[str, Any]:
        """See ``Packing``."""
        kept = int(self._lengths.sum())
        padding = self.rows * self._length - kept
        return {
            "rows": self.rows,
            "dropped_tokens": self._tokens - kept,
            "padding": padding,
            "padding_share": padding / (self.rows * self._length) if self.rows else 0.0,
        }


def cropped(offsets: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(starts, lengths) of the pieces, at most ``length`` long, of the documents between ``offsets``."""
    sizes = np.diff(offsets)
    counts = -(-sizes // length)
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = np.repeat(offsets[:-1], counts) + within * length
    return starts, np.minimum(np.repeat(offsets[1:], counts) - starts, length)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, dtype=np.int64), *arrays])
