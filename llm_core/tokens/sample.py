"""A sample of documents of at most so many bytes. It mixes all parts, and does not depend on the order of reading.

A document is in the sample if the hash of its ``doc_id`` is low enough. So a larger sample contains the smaller ones,
and the sample changes little when the corpus grows. Memory holds ``1 << 16`` sums and the keys of one bucket.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from xxhash import xxh3_64_digest

from llm_core.data.parquet_parts import read_part
from llm_core.graph.part import InputFile, PartTask, PartWork

_KEYS = np.dtype([("hash", "<u8"), ("bytes", "<u8")])
_BUCKET_BITS = 16


@dataclass(frozen=True)
class Sampled:
    """A part of the documents, and the file of its keys: hash and size of every document, in the order of rows."""

    source: str
    documents: Path
    keys: Path

    def load(self) -> np.ndarray:
        """The keys, memory-mapped."""
        return np.load(self.keys, mmap_mode="r")


def key_tasks(files: Sequence[InputFile], split: str) -> list[PartTask]:
    """The tasks that make the keys of one split, in the order of its parts."""
    chosen = [file for file in files if file.name.startswith(f"{split}/")]
    return [PartTask(f"{split}-{file.stem}", key_part, {"documents": file}) for file in chosen]


def key_part(work: PartWork) -> dict[str, Any]:
    """Write ``keys.npy``: for every document its hash and its bytes."""
    documents = read_part(work.inputs["documents"], ["doc_id", "text", "source"])
    keys = np.empty(documents.height, dtype=_KEYS)
    hashes = b"".join(xxh3_64_digest(doc_id.encode()) for doc_id in documents["doc_id"])
    keys["hash"] = np.frombuffer(hashes, dtype=">u8")
    keys["bytes"] = documents["text"].str.len_bytes().to_numpy()
    np.save(work.out / "keys.npy", keys)
    return {"source": documents["source"][0] if documents.height else "", "documents": documents.height}


def limit(parts: Sequence[Sampled], max_bytes: int) -> int:
    """The highest hash of a sample of at most ``max_bytes``. The sample has at least one document."""
    sums = np.zeros(1 << _BUCKET_BITS, dtype=np.int64)
    for part in parts:
        keys = part.load()
        np.add.at(sums, _bucket(keys["hash"]), keys["bytes"].astype(np.int64))
    until = np.cumsum(sums)
    last = int(np.searchsorted(until, max_bytes, side="right"))  # the bucket that does not fit whole
    if last == len(sums):
        return (1 << 64) - 1
    inside = np.concatenate([keys[_bucket(keys["hash"]) == last] for keys in (part.load() for part in parts)])
    inside = np.sort(inside, order="hash")
    before = int(until[last - 1]) if last else 0
    count = int(np.searchsorted(before + np.cumsum(inside["bytes"].astype(np.int64)), max_bytes, side="right"))
    if not count and before:
        return (last << 64 - _BUCKET_BITS) - 1
    return int(inside["hash"][max(count, 1) - 1])


def _bucket(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - _BUCKET_BITS)).astype(np.int64)


def size_up_to(parts: Sequence[Sampled], highest: int) -> tuple[int, int]:
    """(documents, bytes) of the sample."""
    chosen = [keys["bytes"][keys["hash"] <= np.uint64(highest)] for keys in (part.load() for part in parts)]
    return sum(map(len, chosen)), sum(int(sizes.sum()) for sizes in chosen)


def texts_up_to(parts: Sequence[Sampled], highest: int) -> Iterator[str]:
    """The texts of the documents whose hashes are at most ``highest``, part by part."""
    for part in parts:
        rows = np.flatnonzero(part.load()["hash"] <= np.uint64(highest))
        if len(rows):
            yield from read_part(part.documents, ["text"])["text"].gather(rows).to_list()
