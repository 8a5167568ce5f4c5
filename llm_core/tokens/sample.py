"""A sample of documents that is bounded in bytes and mixes all parts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from xxhash import xxh3_64_digest

from llm_core.data.parts import read_parts


def sampled_texts(folder: Path, max_bytes: int) -> Iterator[list[str]]:
    """Per part, the texts of the documents with the lowest hashes of ``doc_id`` that together have ``max_bytes``.

    Holds 16 bytes a document. At least one document is taken.
    """
    hashes, sizes = [np.empty(0, "<u8")], [np.empty(0, np.int64)]
    for _, frame in read_parts(folder, ["doc_id", "text"]):
        hashes.append(_hashes(frame["doc_id"].to_list()))
        sizes.append(frame["text"].str.len_bytes().to_numpy().astype(np.int64))
    all_hashes, all_sizes = np.concatenate(hashes), np.concatenate(sizes)
    order = np.argsort(all_hashes, kind="stable")
    count = max(1, int(np.searchsorted(np.cumsum(all_sizes[order]), max_bytes, side="right")))
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[:count]] = True
    start = 0
    for _, frame in read_parts(folder, ["text"]):
        stop = start + frame.height
        yield frame["text"].gather(np.flatnonzero(chosen[start:stop])).to_list()
        start = stop


def _hashes(doc_ids: list[str]) -> np.ndarray:
    return np.frombuffer(b"".join(xxh3_64_digest(doc_id.encode()) for doc_id in doc_ids), dtype="<u8")
