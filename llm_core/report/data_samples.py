"""What the data report shows of the documents themselves: short excerpts, the same ones on every run.

A document's identity is a hash, so the documents of the lowest identities are a fair sample of any set of them. Large
artifacts are sampled from some of their parts, chosen by a hash of their names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import polars as pl
from xxhash import xxh3_64_intdigest

PARTS = 32
"""Parts that samples are drawn from."""
PER_RULE = 3
KEPT = 6
EXCERPT = 500
"""Characters."""
BEFORE, COMPARED = 10, 90
"""Words shown before the first difference of two documents, and words compared from there on."""


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a document and where it stands; ``more``: characters that are not shown."""

    doc_id: str
    source: str
    origin: str
    row: int
    text: str
    more: int


Side = list[tuple[str, bool]]
"""Text in pieces, and whether the other document has another piece there."""


def some_parts(folder: Path) -> tuple[list[Path], int]:
    """(the parts of ``folder`` that samples are drawn from, how many there are)."""
    paths = sorted(folder.glob("*.parquet"))
    chosen = sorted(paths, key=lambda path: xxh3_64_intdigest(path.name.encode()))[:PARTS]
    return sorted(chosen), len(paths)


def kept_samples(folder: Path) -> list[Excerpt]:
    """Documents that stayed."""
    paths, _ = some_parts(folder)
    if not paths:
        return []
    documents = pl.scan_parquet(paths, glob=False)
    chosen = documents.select("doc_id").collect()["doc_id"].sort().head(KEPT)
    return [_excerpt(row) for row in _rows(documents, chosen)]


def dropped_samples(folder: Path) -> dict[str, list[tuple[Excerpt, dict[str, Any]]]]:
    """Rule → documents that it dropped, each with what its row says beside the text."""
    paths, _ = some_parts(folder)
    if not paths:
        return {}
    documents = pl.scan_parquet(paths, glob=False)
    names = documents.select("doc_id", "rule").collect().sort("doc_id")
    chosen = names.group_by("rule", maintain_order=True).head(PER_RULE)["doc_id"]
    samples: dict[str, list[tuple[Excerpt, dict[str, Any]]]] = {}
    for row in _rows(documents, chosen):
        more = {name: value for name, value in row.items() if name not in Excerpt.__annotations__}
        samples.setdefault(row["rule"], []).append((_excerpt(row), more))
    return dict(sorted(samples.items()))


def texts_of(folder: Path, doc_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``doc_id`` → row, of those that stand in ``folder``."""
    paths = sorted(folder.glob("*.parquet"))
    if not paths or not doc_ids:
        return {}
    return {row["doc_id"]: row for row in _rows(pl.scan_parquet(paths, glob=False), pl.Series(sorted(doc_ids)))}


def side_by_side(left: str, right: str) -> tuple[Side, Side]:
    """Both texts from a little before their first other word, cut into what is equal and what differs."""
    ours, theirs = (re.findall(r"\s*\S+", text) for text in (left, right))
    words = [[piece.strip() for piece in pieces] for pieces in (ours, theirs)]  # white space makes no difference
    pairs = enumerate(zip(*words, strict=False))
    same = next((place for place, (one, other) in pairs if one != other), min(len(ours), len(theirs)))
    start = max(same - BEFORE, 0)
    stop = start + COMPARED
    sides: tuple[Side, Side] = ([("…", False)], [("…", False)]) if start else ([], [])
    matcher = SequenceMatcher(None, words[0][start:stop], words[1][start:stop], autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        for side, pieces in zip(sides, (ours[start + a : start + b], theirs[start + c : start + d]), strict=True):
            if pieces:
                side.append(("".join(pieces)[: 4 * EXCERPT], kind != "equal"))
    return sides


def _rows(documents: pl.LazyFrame, doc_ids: pl.Series) -> list[dict[str, Any]]:
    return documents.filter(pl.col("doc_id").is_in(doc_ids.to_list())).collect().sort("doc_id").to_dicts()


def _excerpt(row: dict[str, Any]) -> Excerpt:
    text = row["text"]
    return Excerpt(row["doc_id"], row["source"], row["origin"], row["row"], text[:EXCERPT], max(len(text) - EXCERPT, 0))
