"""The data order is a function: ``batch(step)`` follows from shards, seed, sequence length and global batch alone.

Shapes: B sequences of a batch (of one rank's share, where a rank is given), T tokens of a sequence. numpy only: the
training path imports this module.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.tokens.order import permuted


class Batch(NamedTuple):
    """int64 arrays of shape (B, T); ``targets_BT`` is the input moved by one token.

    ``document_ids_BT``: for every input, the index of its document in the split (row of that split in
    ``documents.parquet``). The token that ends a document belongs to it.
    """

    inputs_BT: np.ndarray  # noqa: N815
    targets_BT: np.ndarray  # noqa: N815
    document_ids_BT: np.ndarray  # noqa: N815


@dataclass(frozen=True)
class _Shard:
    path: Path
    start: int  # where its first token stands in the split's stream
    tokens: np.ndarray  # memory-mapped


class ShardReader:
    """One split of a ``token_shards`` artifact as a single stream of tokens, memory-mapped.

    Opening compares ``shards.json`` with the sizes of the files, and raises ``PedigreeError`` for one that is missing
    or cut short. Ids that the vocabulary does not have (a flipped bit) are found when they are read.
    """

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = folder, split
        index = self._index()
        self.vocab_size: int = index["vocab_size"]
        self.eot: int = index["eot"]
        self.tokens: int = index["splits"][split]["tokens"]
        self._dtype = np.dtype(index["dtype"]).newbyteorder("<")
        self._shards = self._open_shards(index["splits"][split]["shards"])
        self._starts = np.array([shard.start for shard in self._shards], dtype=np.int64)
        self._offsets = self._open_documents(index["splits"][split]["documents"])

    @property
    def documents(self) -> int:
        """Documents of the split."""
        return len(self._offsets) - 1

    def _index(self) -> dict[str, Any]:
        path = self.folder / "shards.json"
        try:
            index: dict[str, Any] = json.loads(path.read_bytes())
            known = sorted(index["splits"])
        except FileNotFoundError:
            raise PedigreeError(f"{path}: there is no such file; is this a folder of token shards?") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PedigreeError(f"{path}: not a list of token shards: {error!r}; make the shards again") from None
        if self.split not in known:
            raise PedigreeError(f"{path}: there is no split {self.split!r}; known: {', '.join(known)}")
        return index

    def _open_shards(self, records: list[dict[str, Any]]) -> list[_Shard]:
        shards, start = [], 0
        for record in records:
            path, expected = self.folder / record["file"], record["tokens"] * self._dtype.itemsize
            size = path.stat().st_size if path.is_file() else None
            if size != expected:
                found = "is missing" if size is None else f"has {size} bytes instead of {expected}"
                raise PedigreeError(f"{path}: the shard {found}; make the shards again")
            shards.append(_Shard(path, start, np.memmap(path, dtype=self._dtype, mode="r")))
            start += record["tokens"]
        if start != self.tokens:
            raise PedigreeError(
                f"{self.folder / 'shards.json'}: the shards of {self.split} hold {start} tokens, "
                f"and not {self.tokens}; make the shards again"
            )
        return shards

    def _open_documents(self, documents: int) -> np.ndarray:
        path = self.folder / self.split / "documents.npy"
        try:
            offsets: np.ndarray = np.load(path, mmap_mode="r")
        except FileNotFoundError:
            raise PedigreeError(f"{path}: there is no such file; make the shards again") from None
        except (OSError, ValueError) as error:
            raise PedigreeError(
                f"{path}: not a whole array of document offsets: {error}; make the shards again"
            ) from None
        if (
            offsets.dtype != np.int64
            or offsets.shape != (documents + 1,)
            or (offsets[0], offsets[-1]) != (0, self.tokens)
        ):
            raise PedigreeError(
                f"{path}: does not hold {documents} documents of {self.tokens} tokens; make the shards again"
            )
        return offsets

    def _check_range(self, start: int, stop: int) -> None:
        if not 0 <= start <= stop <= self.tokens:
            raise ValueError(f"tokens {start} to {stop} lie outside a stream of {self.tokens}")

    def _check_ids(self, tokens: np.ndarray, shard: _Shard) -> np.ndarray:
        if tokens.size and int(tokens.max()) >= self.vocab_size:
            raise PedigreeError(
                f"{shard.path}: holds the token id {int(tokens.max())}, but the vocabulary has {self.vocab_size} "
                "entries: the file was damaged; make the shards again"
            )
        return tokens

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens ``start`` to ``stop`` of the stream, over the borders of shards; int64."""
        self._check_range(start, stop)
        result = np.empty(stop - start, dtype=np.int64)
        number = int(np.searchsorted(self._starts, start, side="right")) - 1
        position = start
        while position < stop:
            shard = self._shards[number]
            piece = self._check_ids(shard.tokens[position - shard.start : stop - shard.start], shard)
            result[position - start : position - start + len(piece)] = piece
            position += len(piece)
            number += 1
        return result

    def rows(self, starts: np.ndarray, length: int) -> np.ndarray:
        """The pieces of ``length`` tokens that begin at ``starts`` (int64); int64 of shape (len(starts), length)."""
        result = np.empty((len(starts), length), dtype=np.int64)
        numbers = np.searchsorted(self._starts, starts, side="right") - 1
        whole = numbers == np.searchsorted(self._starts, starts + length - 1, side="right") - 1
        for number in np.unique(numbers[whole]):
            shard, chosen = self._shards[number], whole & (numbers == number)
            views = np.lib.stride_tricks.sliding_window_view(shard.tokens, length)
            result[chosen] = self._check_ids(views[starts[chosen] - shard.start], shard)
        for row in np.flatnonzero(~whole):  # few: each crosses the border of two shards
            result[row] = self.read(int(starts[row]), int(starts[row]) + length)
        return result

    def document_ids(self, start: int, stop: int) -> np.ndarray:
        """The index of the document of every token from ``start`` to ``stop``; int64."""
        self._check_range(start, stop)
        return self.document_id_rows(np.array([start], dtype=np.int64), stop - start)[0]

    def document_id_rows(self, starts: np.ndarray, length: int) -> np.ndarray:
        """As ``rows``, for document indices: a row starts with its first token's and counts up at every border."""
        counts = np.zeros((len(starts), length), dtype=np.int64)
        if not counts.size:
            return counts
        first = np.searchsorted(self._offsets, starts, side="right") - 1
        last = np.searchsorted(self._offsets, starts + length - 1, side="right") - 1
        borders = last - first
        rows = np.repeat(np.arange(len(starts)), borders)
        # Entry k of row r is document first[r] + 1 + k: the arange restarts at every row.
        within = np.arange(len(rows)) - np.repeat(np.cumsum(borders) - borders, borders)
        columns = self._offsets[first[rows] + 1 + within] - starts[rows]
        np.add.at(counts, (rows, columns), 1)
        counts[:, 0] += first
        return np.cumsum(counts, axis=1, out=counts)


class Loader:
    """Batches of windows in a random order that repeats no window within an epoch.

    Window w reads the ``sequence_length`` + 1 tokens from w × ``sequence_length`` on, so that every token but the
    stream's first is a target exactly once an epoch (less than a window at the end is left out). Every epoch has its
    own permutation, and a batch may cross from one epoch into the next. Raises ``PedigreeError`` for a stream that is
    shorter than one window.
    """

    def __init__(self, reader: ShardReader, sequence_length: int, batch_size: int, seed: int) -> None:
        if sequence_length < 1 or batch_size < 1:
            raise ValueError(f"sequence_length {sequence_length} and batch_size {batch_size} must be positive")
        self.reader, self.sequence_length, self.batch_size, self.seed = reader, sequence_length, batch_size, seed
        self.windows = (reader.tokens - 1) // sequence_length
        if self.windows < 1:
            raise PedigreeError(
                f"{reader.folder}: the split {reader.split} has {reader.tokens} tokens; a sequence_length of "
                f"{sequence_length} needs at least {sequence_length + 1}: use more text or shorter sequences"
            )

    def window_indices(self, step: int) -> np.ndarray:
        """The windows of the global batch of ``step`` (from 0), int64 of shape (batch_size,)."""
        if step < 0:
            raise ValueError(f"step {step} is negative")
        positions = step * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        epochs = positions // self.windows
        indices = positions % self.windows
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            chosen = epochs == epoch
            indices[chosen] = permuted(indices[chosen], self.windows, self.seed, epoch)
        return indices

    def ranges(self, step: int) -> list[tuple[int, int]]:
        """(start, stop) in the split's stream of what each sequence of the batch reads, the last target included."""
        starts = self.window_indices(step) * self.sequence_length
        return [(int(start), int(start) + self.sequence_length + 1) for start in starts]

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> Batch:
        """The rows ``rank::world_size`` of the batch of ``step``: the ranks together hold the same for any world."""
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in a world of {world_size}")
        starts = self.window_indices(step)[rank::world_size] * self.sequence_length
        tokens = self.reader.rows(starts, self.sequence_length + 1)
        return Batch(tokens[:, :-1], tokens[:, 1:], self.reader.document_id_rows(starts, self.sequence_length))
