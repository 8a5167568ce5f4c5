"""Token shards as one stream, memory-mapped. numpy only: the training path imports this module."""

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.tokens.shard_file import open_shard


@dataclass(frozen=True)
class _Shard:
    path: Path
    start: int  # where its first token stands in the split's stream
    tokens: np.ndarray  # memory-mapped


class ShardReader:
    """One split of a ``token_shards`` artifact, or one ``source`` of it, as a single stream of tokens.

    Positions are those of the split's stream, even if only one source is read: it has positions ``start`` to ``stop``,
    because the shards of a source stand together. The position before ``start`` reads as the end-of-text token, so the
    first document is predicted from that token like any other.

    Opening compares ``shards.json`` with the headers and sizes of the shards. Raises ``PedigreeError`` for a shard that
    is missing, cut short, or made with another tokenizer, and for a source that is not there. Ids that the vocabulary
    does not have (a flipped bit) are found when they are read.
    """

    def __init__(self, folder: Path, split: str, source: str | None = None) -> None:
        self.folder, self.split, self.source = folder, split, source
        self._path = folder / "shards.json"
        content = self._read()
        index = self._index(content)
        self.vocab_size: int = index["vocab_size"]
        self.eot: int = index["eot"]
        self.tokenizer: str = index["tokenizer"]
        self.digest = blake2b(content, digest_size=16).hexdigest()
        """Of ``shards.json``; it identifies the set of shards."""
        total, documents = index["splits"][split]["tokens"], index["splits"][split]["documents"]
        records = self._chosen(index["splits"][split]["shards"], total)
        self.start: int = records[0][0] if records else 0
        self.stop: int = records[-1][0] + records[-1][1]["tokens"] if records else 0
        self._shards = [shard for shard in (self._open(*record) for record in records) if len(shard.tokens)]
        self._starts = np.array([shard.start for shard in self._shards], dtype=np.int64)
        self._ends = np.array([shard.start + len(shard.tokens) for shard in self._shards], dtype=np.int64)
        offsets = self._open_documents(documents, total)
        first, last = np.searchsorted(offsets, (self.start, self.stop))
        self.offsets: np.ndarray = offsets[first : last + 1]
        """Where its documents start in the split's stream, and the end of the last; int64, memory-mapped."""

    @property
    def tokens(self) -> int:
        """Tokens of the split, or of the source."""
        return self.stop - self.start

    @property
    def documents(self) -> int:
        """Documents of the split, or of the source."""
        return max(0, len(self.offsets) - 1)

    @property
    def name(self) -> str:
        """The source, or the split if it is read whole; for messages."""
        return self.source or self.split

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            raise PedigreeError(f"{self._path}: there is no such file; is this a folder of token shards?") from None
        except OSError as error:
            raise PedigreeError(f"{self._path}: can't be read: {error.strerror}") from None

    def _index(self, content: bytes) -> dict[str, Any]:
        try:
            index: dict[str, Any] = json.loads(content)
            known = sorted(index["splits"])
            _ = (index["vocab_size"], index["eot"], index["tokenizer"])
            for split in index["splits"].values():
                records = [(record["file"], record["tokens"], record["source"]) for record in split["shards"]]
                _ = (split["tokens"], split["documents"], records)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise PedigreeError(f"{self._path}: no valid list of shards ({error!r}); make token_shards again") from None
        if self.split not in known:
            raise PedigreeError(f"{self._path}: there is no split {self.split!r}; known: {', '.join(known)}")
        return index

    def _chosen(self, records: list[dict[str, Any]], total: int) -> list[tuple[int, dict[str, Any]]]:
        """The shards to read: (start in the split's stream, record of ``shards.json``)."""
        starts = np.concatenate([[0], np.cumsum([record["tokens"] for record in records], dtype=np.int64)]).tolist()
        if starts[-1] != total:
            raise PedigreeError(
                f"{self._path}: the shards of {self.split} hold {starts[-1]} tokens, "
                f"but the file says {total}; make the shards again"
            )
        placed = list(zip(starts[:-1], records, strict=True))
        if self.source is None:
            return placed
        numbers = [number for number, record in enumerate(records) if record["source"] == self.source]
        if not numbers:
            known = ", ".join(sorted({record["source"] for record in records}))
            raise PedigreeError(f"{self._path}: the split {self.split} has no source {self.source!r}; known: {known}")
        if numbers[-1] - numbers[0] + 1 != len(numbers):
            raise PedigreeError(
                f"{self._path}: the shards of source {self.source} are not next to each other; make token_shards again"
            )
        return placed[numbers[0] : numbers[-1] + 1]

    def _open(self, start: int, record: dict[str, Any]) -> _Shard:
        path = self.folder / record["file"]
        header, tokens = open_shard(path)
        if header.tokenizer != self.tokenizer or header.vocab_size != self.vocab_size:
            raise PedigreeError(
                f"{path}: the shard was made with another tokenizer ({header.tokenizer}, {header.vocab_size} entries) "
                f"than {self._path} says ({self.tokenizer}, {self.vocab_size}); make the shards again"
            )
        if header.tokens != record["tokens"]:
            raise PedigreeError(
                f"{path}: the shard has {header.tokens} tokens instead of {record['tokens']}; make the shards again"
            )
        return _Shard(path, start, tokens.view(np.ndarray))  # slices of a plain array are cheaper

    def _open_documents(self, documents: int, total: int) -> np.ndarray:
        path = self.folder / self.split / "documents.npy"
        try:
            offsets: np.ndarray = np.load(path, mmap_mode="r")
        except FileNotFoundError:
            raise PedigreeError(f"{path}: there is no such file; make the shards again") from None
        except (OSError, ValueError, EOFError) as error:
            raise PedigreeError(
                f"{path}: not a whole array of document offsets: {error}; make the shards again"
            ) from None
        if offsets.dtype != np.int64 or offsets.shape != (documents + 1,) or (offsets[0], offsets[-1]) != (0, total):
            raise PedigreeError(f"{path}: does not hold {documents} documents of {total} tokens; make the shards again")
        return offsets.view(np.ndarray)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens ``start`` to ``stop`` of the split's stream, also across shards; int64."""
        if not self.start <= start <= stop <= self.stop:
            raise ValueError(f"tokens {start} to {stop} lie outside {self.name}: {self.start} to {self.stop}")
        return self.spans(np.array([start], dtype=np.int64), np.array([stop - start], dtype=np.int64))

    def spans(self, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The tokens of all spans, one after the other; int64 of shape (sum of ``lengths``,).

        A span may begin at ``start`` − 1, which is read as the end-of-text token.
        """
        result = np.empty(int(lengths.sum()), dtype=np.int64)
        if not result.size:
            return result
        stops = starts + lengths
        places = np.cumsum(lengths) - lengths
        numbers = np.searchsorted(self._starts, starts, side="right") - 1
        whole = (numbers >= 0) & (stops <= self._ends[numbers])
        within = starts - self._starts[numbers]
        shards = self._shards
        spans = zip(places.tolist(), lengths.tolist(), numbers.tolist(), within.tolist(), whole.tolist(), strict=True)
        for place, length, number, offset, is_whole in spans:
            if is_whole:
                result[place : place + length] = shards[number].tokens[offset : offset + length]
            else:
                self._fill(result[place : place + length], number, offset)
        # One comparison for all spans. Only if it fails, the damaged shard is searched.
        if int(result.max()) >= self.vocab_size:
            self._name_damage(starts, stops)
        return result

    def _fill(self, result: np.ndarray, number: int, offset: int) -> None:
        """Read a span that begins before the first shard or crosses shards; it begins at ``offset`` of ``number``."""
        filled = 0
        if number < 0 and len(result):
            result[0] = self.eot
            filled, number, offset = 1, 0, 0
        while filled < len(result):
            piece = self._shards[number].tokens[offset : offset + len(result) - filled]
            result[filled : filled + len(piece)] = piece
            filled, number, offset = filled + len(piece), number + 1, 0

    def _name_damage(self, starts: np.ndarray, stops: np.ndarray) -> None:
        for shard in self._shards:
            end = shard.start + len(shard.tokens)
            for start, stop in zip(np.maximum(starts, shard.start), np.minimum(stops, end), strict=True):
                piece = shard.tokens[max(0, start - shard.start) : max(0, stop - shard.start)]
                if piece.size and int(piece.max()) >= self.vocab_size:
                    raise PedigreeError(
                        f"{shard.path}: holds the token id {int(piece.max())}, but the vocabulary has "
                        f"{self.vocab_size} entries: the file was damaged; make the shards again"
                    )

    def borders(self, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(span, position in it) of every document start in a span, except at its first token. No span is empty."""
        first = np.searchsorted(self.offsets, starts, side="right")
        count = np.searchsorted(self.offsets, starts + lengths, side="left") - first
        spans = np.repeat(np.arange(len(starts)), count)
        # Border k of span s is document first[s] + k: the arange starts again at every span.
        within = np.arange(len(spans)) - np.repeat(np.cumsum(count) - count, count)
        return spans, self.offsets[first[spans] + within] - starts[spans]

    def begins_document(self, positions: np.ndarray) -> np.ndarray:
        """Whether a document starts at each of ``positions`` (inside the stream); bool."""
        found: np.ndarray = self.offsets[np.searchsorted(self.offsets, positions)] == positions
        return found
