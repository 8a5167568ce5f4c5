"""Chooses the held-out documents to score: a sample by hash, which stays nearly the same when the corpus grows."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import xxhash

from llm_core.errors import PedigreeError


@dataclass(frozen=True)
class Document:
    """A held-out document."""

    doc_id: str
    text: str


def order(seed: int, purpose: str, name: str) -> str:
    """A sort key that shuffles names, differently for every seed and purpose."""
    return xxhash.xxh3_128_hexdigest(f"{seed}|{purpose}|{name}".encode())


def sample(folder: Path, count: int, seed: int, purpose: str, min_characters: int = 1) -> list[Document]:
    """Up to ``count`` documents in ``folder`` with at least ``min_characters``, in hash order.

    Raises ``PedigreeError`` when there is none.
    """
    documents = pl.scan_parquet(sorted(folder.glob("*.parquet")), glob=False)
    long_enough = pl.col("text").str.len_chars() >= min_characters
    names = documents.filter(long_enough).select("doc_id").collect(engine="streaming")["doc_id"].to_list()
    chosen = sorted(names, key=lambda name: order(seed, purpose, name))[:count]
    if not chosen:
        raise PedigreeError(
            f"{folder}: there is no held-out document of at least {min_characters} characters to evaluate on; "
            "raise split.heldout_share, or lower evaluation.context_characters and continuation_characters"
        )
    rows = documents.filter(pl.col("doc_id").is_in(chosen)).select("doc_id", "text").collect(engine="streaming")
    texts = dict(rows.iter_rows())
    return [Document(name, texts[name]) for name in chosen]
