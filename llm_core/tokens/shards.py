"""Token ids of both splits in flat files, and which document every token came from.

``<split>/NNNNN.bin``: little-endian ids, nothing else. A document never crosses a shard. ``<split>/documents.npy``:
where each document starts in the split's stream, and its end (what training reads). ``documents.parquet``: the same
with the origin of every document (what people and queries read). ``shards.json``: the table of contents.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from llm_core.data.parts import part_paths, read_parts, write_part
from llm_core.data.split import SPLITS
from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.tokens import ShardsSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check
from llm_core.store.digests import file_digest
from llm_core.tokens.batches import batches
from llm_core.tokens.loader import ShardReader
from llm_core.tokens.tokenizer import UNKNOWN, end_of_text, load_tokenizer

_ROUND_TRIPS = 200

_PLACE = {
    "split": pl.String,
    "shard": pl.Int64,
    "token_start": pl.Int64,
    "token_end": pl.Int64,
    "stream_start": pl.Int64,
}


def build(job: Job, shards: ShardsSpec) -> dict[str, Any]:
    """Encode both splits; every document ends with the end-of-text token. The figures are read back from the files."""
    path = job.path("tokenizer", "tokenizer.json")
    tokenizer = load_tokenizer(path)
    vocab_size, eot = tokenizer.get_vocab_size(), end_of_text(tokenizer, path)
    limit = np.iinfo(shards.dtype).max + 1
    if vocab_size > limit:
        raise PedigreeError(
            f"shards.dtype: {shards.dtype} holds {limit} ids, and the tokenizer has {vocab_size}; use uint32"
        )
    index: dict[str, Any] = {
        "dtype": shards.dtype,
        "vocab_size": vocab_size,
        "eot": eot,
        "tokenizer": file_digest(path),
        "splits": {},
    }
    tables = []
    for split in SPLITS:
        writer = _SplitWriter(job.out, split, shards, eot)
        folder = job.path("documents", split)
        total = len(part_paths(folder))
        for number, (_, frame) in enumerate(read_parts(folder)):
            job.runtime.progress(number, total, f"parts of {split}")
            for document_ids in _encoded(tokenizer, frame["text"].to_list()):
                writer.add(document_ids)
            tables.append(frame.drop("text").hstack(writer.take_places()))
        job.runtime.progress(total, total, f"parts of {split}")
        index["splits"][split] = writer.finish()
    columns = [*_PLACE, "doc_id", "source", "origin", "row"]
    write_part(job.out / "documents.parquet", pl.concat(tables).select(columns))
    (job.out / "shards.json").write_text(json.dumps(index, indent=1) + "\n")
    return _measured(job, tokenizer)


def _encoded(tokenizer: Tokenizer, texts: list[str]) -> Iterator[np.ndarray]:
    """The ids of every text, in order."""
    for batch in batches(texts):
        for encoding in tokenizer.encode_batch_fast(batch, add_special_tokens=False):
            yield np.array(encoding.ids, dtype=np.int64)


class _SplitWriter:
    """The files of one split. A shard is closed before the document that would make it exceed its size."""

    def __init__(self, folder: Path, split: str, shards: ShardsSpec, eot: int) -> None:
        self._folder, self._split, self._eot = folder, split, eot
        self._dtype = np.dtype(shards.dtype).newbyteorder("<")
        self._tokens_per_shard = shards.tokens_per_shard
        self._sizes: list[int] = []
        self._file: BinaryIO | None = None
        self._stream = 0
        self._places: list[tuple[str, int, int, int, int]] = []
        self._starts: list[np.ndarray] = []
        (folder / split).mkdir(parents=True, exist_ok=True)

    def add(self, ids: np.ndarray) -> None:
        length = len(ids) + 1
        if self._file is None or self._sizes[-1] + length > self._tokens_per_shard:
            self._next_shard()
        assert self._file is not None
        start = self._sizes[-1]
        self._file.write(np.append(ids, self._eot).astype(self._dtype).tobytes())
        self._places.append((self._split, len(self._sizes) - 1, start, start + length, self._stream))
        self._sizes[-1] += length
        self._stream += length

    def _next_shard(self) -> None:
        self._close()
        self._file = (self._folder / self._name(len(self._sizes))).open("wb")
        self._sizes.append(0)

    def _name(self, number: int) -> str:
        return f"{self._split}/{number:05d}.bin"

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def take_places(self) -> pl.DataFrame:
        """Where the documents stand that were added since the last call."""
        frame = pl.DataFrame(self._places, schema=_PLACE, orient="row")
        self._starts.append(frame["stream_start"].to_numpy())
        self._places = []
        return frame

    def finish(self) -> dict[str, Any]:
        """Write ``documents.npy``; the split's entry in ``shards.json``."""
        self._close()
        starts = np.concatenate([*self._starts, [self._stream]]).astype(np.int64)
        np.save(self._folder / self._split / "documents.npy", starts)
        shards = [{"file": self._name(number), "tokens": size} for number, size in enumerate(self._sizes)]
        return {"tokens": self._stream, "documents": len(starts) - 1, "shards": shards}


def _measured(job: Job, tokenizer: Tokenizer) -> dict[str, Any]:
    """Figures from the files as they lie there, each by the way that is independent of how it was written."""
    documents = pl.read_parquet(job.out / "documents.parquet", glob=False)
    lengths = pl.col("token_end") - pl.col("token_start")
    itemsize = np.dtype(json.loads((job.out / "shards.json").read_bytes())["dtype"]).itemsize
    stats: dict[str, Any] = {"documents": documents.height}
    # A text with something unknown in it can't come back; how much is unknown is for the tokenizer's gate to judge.
    unknown = tokenizer.token_to_id(UNKNOWN)
    eots, failed, tried = 0, 0, 0
    for split in SPLITS:
        own = documents.filter(pl.col("split") == split)
        stats[f"{split}_tokens"] = sum(path.stat().st_size for path in (job.out / split).glob("*.bin")) // itemsize
        stats[f"{split}_documents"] = own.height
        stats[f"{split}_tokens_of_documents"] = int(own.select(lengths.sum()).item() or 0)
        reader = ShardReader(job.out, split)
        eots += _count(reader, reader.eot)
        size = 0
        start = 0
        for _, frame in read_parts(job.path("documents", split), ["text"]):
            size += int(frame["text"].str.len_bytes().sum())
            for offset in range(0, frame.height, max(1, documents.height // _ROUND_TRIPS)):
                place = own.row(start + offset, named=True)
                first, last = place["stream_start"], place["stream_start"] + place["token_end"] - place["token_start"]
                ids = reader.read(first, last - 1).tolist()
                if unknown not in ids:
                    failed += tokenizer.decode(ids, skip_special_tokens=False) != frame["text"][offset]
                    tried += 1
            start += frame.height
        tokens = stats[f"{split}_tokens"] - own.height
        stats[f"{split}_bytes_per_token"] = size / tokens if tokens else 0.0
    by_source = documents.group_by("source").agg(tokens=lengths.sum()).sort("source")
    return {
        **stats,
        "tokens_by_source": dict(by_source.iter_rows()),
        "vocab_size": tokenizer.get_vocab_size(),
        "end_of_text_tokens": eots,
        "round_trips": tried,
        "round_trips_failed": failed,
    }


def _count(reader: ShardReader, token: int, step: int = 1 << 22) -> int:
    """How often ``token`` stands in a split; reading also finds ids that the vocabulary does not have."""
    starts = range(0, reader.tokens, step)
    return sum(int((reader.read(start, min(start + step, reader.tokens)) == token).sum()) for start in starts)


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:  # noqa: ARG001
    """Both splits hold tokens, as many as their documents have, and decode to what was encoded."""
    tokens = stats["train_tokens"] + stats["heldout_tokens"]
    summed = stats["train_tokens_of_documents"] + stats["heldout_tokens_of_documents"]
    least = min(stats["train_tokens"], stats["heldout_tokens"])
    ends, documents, failed = stats["end_of_text_tokens"], stats["documents"], stats["round_trips_failed"]
    return [
        Check(
            "not_empty",
            least > 0,
            f"{stats['train_tokens']} tokens to train on, {stats['heldout_tokens']} held out",
            value=least,
            bound=1,
        ),
        Check(
            "token_counts",
            tokens == summed,
            f"the shards hold {tokens} tokens, the documents {summed}",
            value=tokens,
            bound=summed,
        ),
        Check(
            "document_ends",
            ends == documents,
            f"{ends} end-of-text tokens for {documents} documents",
            value=ends,
            bound=documents,
        ),
        Check(
            "round_trip",
            failed == 0,
            f"{failed} of {stats['round_trips']} documents decode to another text than was encoded",
            value=failed,
            bound=0,
        ),
    ]
