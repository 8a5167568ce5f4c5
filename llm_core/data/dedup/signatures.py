"""The record that deduplication has of a document: identity, hash of the folded text, size, and MinHash signature."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from xxhash import xxh3_128_digest

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.folding import fold
from llm_core.data.kernels.minhash import signatures
from llm_core.data.parquet_parts import read_part
from llm_core.errors import PedigreeError
from llm_core.experiment.dedup import MinHashSpec
from llm_core.graph.part import PartWork

PAIR = np.dtype([("high", "<u8"), ("low", "<u8")])
"""128 bits: a ``doc_id``, or the xxh3-128 of a folded text."""


def signature_dtype(permutations: int) -> np.dtype:
    """One document: 40 bytes, and 4 per permutation. ``shingles``: with repetitions; 0 for a short text."""
    fields = [("doc_id", PAIR), ("key", PAIR), ("bytes", "<u4"), ("shingles", "<u4"), ("minhash", "<u4", permutations)]
    return np.dtype(fields)


def sign_part(work: PartWork, minhash: MinHashSpec) -> dict[str, Any]:
    """Write ``signatures/NAME.npy``: a row of ``signature_dtype`` per document of the part, in its order."""
    frame = read_part(work.inputs["documents"], ["doc_id", "text"])
    write_signatures(work.out / "signatures" / f"{work.name}.npy", sign(frame, minhash))
    return {"documents": frame.height}


def sign(frame: pl.DataFrame, minhash: MinHashSpec) -> np.ndarray:
    """The signatures of documents with ``doc_id`` and ``text``."""
    folded = fold(frame["text"])
    numbers, shingles = signatures(folded, minhash.permutations, minhash.shingle_words)
    rows = np.empty(frame.height, dtype=signature_dtype(minhash.permutations))
    rows["doc_id"] = doc_id_numbers(frame["doc_id"])
    rows["key"] = keys(folded)
    rows["bytes"] = np.minimum(frame["text"].str.len_bytes().to_numpy(), 0xFFFFFFFF)
    rows["shingles"] = np.minimum(shingles, 0xFFFFFFFF)
    rows["minhash"] = numbers
    return rows


def keys(folded: Texts) -> np.ndarray:
    """``PAIR`` [n]: 128-bit hashes of the folded texts."""
    data = folded.data.data
    digests = b"".join(xxh3_128_digest(data[start:stop]) for start, stop in pairwise(folded.offsets.tolist()))
    return np.frombuffer(digests, dtype=PAIR)


def doc_id_numbers(doc_ids: pl.Series) -> np.ndarray:
    """Identities of 32 hexadecimal digits as ``PAIR`` [n], with the same bytes."""
    joined = doc_ids.str.join("").item() if len(doc_ids) else ""
    return np.frombuffer(bytes.fromhex(joined), dtype=PAIR)


def doc_id_texts(numbers: np.ndarray) -> list[str]:
    """The inverse of ``doc_id_numbers``."""
    digits = np.ascontiguousarray(numbers).tobytes().hex()
    return [digits[start : start + 32] for start in range(0, len(digits), 32)]


def write_signatures(path: Path, rows: np.ndarray) -> None:
    """Write a plain ``.npy`` file. Its bytes depend on the rows only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)


def read_signatures(path: Path) -> np.ndarray:
    """The rows, memory-mapped. Raises ``PedigreeError`` for an incomplete file."""
    try:
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise PedigreeError(f"{path}: not a whole signature file: {error}; make the artifact again") from None
