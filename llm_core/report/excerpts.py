"""Excerpts of documents for the data report: short excerpts, the same in every run.

A document's identity is a hash, so the documents with the lowest identities are an unbiased sample of any set. Large
artifacts are sampled from some of their parts, chosen by a hash of their names.
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import polars as pl
from xxhash import xxh3_64_intdigest

from llm_core.report.blocks import Card

PARTS = 32
"""Number of parts from which samples are drawn."""
PER_RULE = 10
"""Number of dropped documents per rule and source."""
PER_RULE_IN_ALL = 40
"""Maximum per rule: with many sources, each gets an equal share."""
KEPT = 6
EXCERPT, DROPPED_EXCERPT = 500, 300
"""Characters."""
BEFORE, COMPARED = 10, 90
"""Words shown before the first difference of two documents, and words compared after it."""


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a document, and its origin. ``more``: number of characters that are not shown."""

    doc_id: str
    source: str
    origin: str
    row: int
    text: str
    more: int

    def card(self, said: str = "") -> Card:
        """It as a block. ``said``: what a stage says of it."""
        head = f"{self.source} · {self.origin} · row {self.row}"
        return Card(head, (self.text,), self.doc_id, said, self.more)


Side = list[tuple[str, bool]]
"""Pieces of text, and whether each differs from the other document."""


def some_parts(folder: Path) -> list[Path]:
    """The parts of ``folder`` from which samples are drawn."""
    return sorted(sorted(folder.glob("*.parquet"), key=lambda path: xxh3_64_intdigest(path.name.encode()))[:PARTS])


def kept_samples(folder: Path) -> list[Excerpt]:
    """A sample of the kept documents."""
    paths = some_parts(folder)
    if not paths:
        return []
    chosen = pl.scan_parquet(paths, glob=False).select("doc_id").collect()["doc_id"].sort().head(KEPT)
    return [_excerpt(row) for row in _rows(paths, chosen)]


def dropped_samples(folder: Path) -> dict[str, list[tuple[Excerpt, dict[str, Any]]]]:
    """Rule → documents that it dropped, by source, each with the other columns of its row."""
    paths = some_parts(folder)
    if not paths:
        return {}
    names = pl.scan_parquet(paths, glob=False).select("doc_id", "rule", "source").collect().sort("doc_id")
    names = names.with_columns(turn=pl.int_range(pl.len()).over("rule", "source")).filter(pl.col("turn") < PER_RULE)
    fair = names.sort("turn", "source", "doc_id").group_by("rule", maintain_order=True).head(PER_RULE_IN_ALL)
    samples: dict[str, list[tuple[Excerpt, dict[str, Any]]]] = {}
    for row in sorted(_rows(paths, fair["doc_id"]), key=lambda row: str(row["source"])):
        more = {name: value for name, value in row.items() if name not in Excerpt.__annotations__}
        samples.setdefault(row["rule"], []).append((_excerpt(row, DROPPED_EXCERPT), more))
    return dict(sorted(samples.items()))


def texts_of(folder: Path, doc_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """``doc_id`` → row, for the documents in ``folder``."""
    rows = _rows(sorted(folder.glob("*.parquet")), pl.Series(doc_ids, dtype=pl.String)) if doc_ids else []
    return {row["doc_id"]: row for row in rows}


def side_by_side(left: str, right: str) -> tuple[Side, Side]:
    """Both texts from shortly before their first different word, split into equal and different pieces.

    White space does not count. Words are read one by one, so that long texts need no more memory.
    """
    both = zip_longest(_pieces(left), _pieces(right), fillvalue="")
    shown: deque[tuple[str, str]] = deque(maxlen=BEFORE + 1)
    read = 0
    for read, pair in enumerate(both, start=1):  # noqa: B007 (how many there were)
        shown.append(pair)
        if pair[0].strip() != pair[1].strip():
            break
    pairs = [*shown, *islice(both, COMPARED - len(shown))]
    ours, theirs = ([pair[side] for pair in pairs if pair[side]] for side in (0, 1))
    sides: tuple[Side, Side] = ([("…", False)], [("…", False)]) if read > len(shown) else ([], [])
    words = [[piece.strip() for piece in pieces] for pieces in (ours, theirs)]
    for kind, a, b, c, d in SequenceMatcher(None, words[0], words[1], autojunk=False).get_opcodes():
        for side, pieces in zip(sides, (ours[a:b], theirs[c:d]), strict=True):
            if pieces:
                side.append(("".join(pieces)[: 4 * EXCERPT], kind != "equal"))
    return sides


def _pieces(text: str) -> Iterator[str]:
    """Every word with the white space after it."""
    return (found.group() for found in re.finditer(r"\S+\s*", text))


def _rows(paths: Sequence[Path], doc_ids: pl.Series) -> list[dict[str, Any]]:
    """The rows of ``doc_ids``, sorted by identity. Only one part at a time is in memory."""
    wanted = pl.col("doc_id").is_in(doc_ids.to_list())
    found = [pl.scan_parquet(path, glob=False).filter(wanted).collect().to_dicts() for path in paths]
    return sorted((row for rows in found for row in rows), key=lambda row: str(row["doc_id"]))


def _excerpt(row: dict[str, Any], size: int = EXCERPT) -> Excerpt:
    text = row["text"]
    return Excerpt(row["doc_id"], row["source"], row["origin"], row["row"], text[:size], max(len(text) - size, 0))
