"""Samples for people to look at: places that edits changed, and kept documents near the bound of a rule.

A document's identity is a hash. So the documents with the lowest identities are a random sample, and the same one for
any division into parts and any number of workers.
"""

import json
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.parquet_parts import read_part, write_part
from llm_core.experiment.cleaning import RuleSpec

SHOWN = 10
"""The number of samples: places per kind of edit, and documents per bound of a rule."""

EDITS, NEAR_MISSES = "edits.jsonl", "near_misses.jsonl"

_FOLDER = "samples"
"""The folder of samples in a part."""

_CANDIDATES = 20
"""The number of edited documents that are searched for a place: in some of them, only white space changed."""

_AROUND = 60
"""Characters shown before and after a change."""

_CHANGE = 200
"""Characters shown of a dropped line."""

_BESIDE = 2
"""Lines shown on each side of a dropped line: one may be blank."""

_EXCERPT = 200
"""Characters shown of a document."""

_READ = 20_000
"""Characters of a document that are searched for the first change, so that the time has a bound."""

_ANCHOR = 12
"""After so many equal characters, both texts count as equal again."""

_PARTS_AT_ONCE = 64

Piece = dict[str, str]
"""``change``: ``del`` for text that was removed, ``ins`` for text that was added, empty for unchanged text."""

_EDIT: dict[str, Any] = {
    "kind": pl.String,
    "doc_id": pl.String,
    "source": pl.String,
    "pieces": pl.List(pl.Struct({"text": pl.String, "change": pl.String})),
}
_NEAR: dict[str, Any] = {
    "rule": pl.String,
    "bound": pl.String,
    "value": pl.Float64,
    "doc_id": pl.String,
    "source": pl.String,
    "excerpt": pl.String,
}


def edited_places(kind: str, documents: pl.DataFrame, places: np.ndarray, texts: pl.Series) -> list[dict[str, Any]]:
    """The first change in some of the ``documents`` at ``places``; ``texts`` are their new texts.

    A row without ``pieces`` is a document in which only white space changed. It counts as searched.
    """
    identities = documents["doc_id"].gather(places)
    lowest = places[identities.arg_sort().head(_CANDIDATES).to_numpy()]
    before, after = documents.select("doc_id", "source", "text")[lowest], texts.gather(lowest)
    rows: list[dict[str, Any]] = []
    visible = 0
    for (doc_id, source, old), new in zip(before.iter_rows(), after, strict=True):
        pieces = first_change(old, new)
        rows.append({"kind": kind, "doc_id": doc_id, "source": source, "pieces": pieces})
        visible += bool(pieces)
        if visible == SHOWN:
            break
    return rows


def first_change(before: str, after: str) -> list[Piece]:
    """The first place where more than white space differs, with the text around it; empty if there is none."""
    old, new = (" ".join(text[:_READ].split()) for text in (before, after))
    start = _equal_start(old, new)
    read_in_part = max(len(before), len(after)) > _READ
    if start == (min if read_in_part else max)(len(old), len(new)):
        return []
    first = max(0, start - _AROUND)
    end, new_end = _ends(old, new, start)
    pieces = [_piece("…")] if first else []
    pieces += _differing(old[first:end], new[first:new_end])
    return [*pieces, _piece("…")] if end < len(old) or read_in_part else pieces


def _equal_start(left: str, right: str) -> int:
    """The length of the common prefix."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if left[low:middle] == right[low:middle] else (low, middle - 1)
    return low


def _ends(old: str, new: str, start: int) -> tuple[int, int]:
    """The ends of the change that begins at ``start``; both texts are equal behind them if such a place is near."""
    for end in range(start + _AROUND, start + 2 * _AROUND):
        anchor = old[end : end + _ANCHOR]
        places = range(start, min(start + 4 * _AROUND, len(new) - _ANCHOR + 1))
        found = [place for place in places if new.startswith(anchor, place)] if len(anchor) == _ANCHOR else []
        if found:  # a text may repeat itself: take the place that has moved least
            return end, min(found, key=lambda place: abs(place - end))
    return min(len(old), start + 2 * _AROUND), min(len(new), start + 2 * _AROUND)


def _differing(old: str, new: str) -> list[Piece]:
    """The pieces of both texts, cut between words, or inside a word if only a part of it changed."""
    left, right = (re.findall(r"\S+|\s+", text) for text in (old, new))
    pieces = []
    for kind, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        gone, come = "".join(left[a:b]), "".join(right[c:d])
        if kind == "equal":
            pieces.append(_piece(gone))
            continue
        head = _between_words(gone, come, _equal_start(gone, come))
        back = gone[head:][::-1], come[head:][::-1]
        tail = _between_words(*back, _equal_start(*back))
        pieces += [
            _piece(gone[:head]),
            _piece(gone[head : len(gone) - tail], "del"),
            _piece(come[head : len(come) - tail], "ins"),
            _piece(gone[len(gone) - tail :]),
        ]
    return [piece for piece in pieces if piece["text"]]


def _between_words(left: str, right: str, count: int) -> int:
    """The largest number of characters up to ``count`` that cuts neither text inside a word or a number."""
    while count > 0 and any(len(text) > count and _is_word(text[count - 1 : count + 1]) for text in (left, right)):
        count -= 1
    return count


def _is_word(text: str) -> bool:
    return all(char.isalnum() or unicodedata.combining(char) for char in text)


def _piece(text: str, change: str = "") -> Piece:
    return {"text": text, "change": change}


def taken_lines(documents: pl.DataFrame, lines: pl.DataFrame) -> list[dict[str, Any]]:
    """The first line that each line rule dropped from some documents, with the lines beside it.

    ``lines``: every line of ``documents`` in order, with its document's ``place`` and the ``rule`` it failed, or null.
    """
    failed = lines.with_row_index("at").filter(pl.col("rule").is_not_null()).select("at", "place", "rule")
    failed = failed.unique(["rule", "place"], keep="first")
    found = documents.select("doc_id", "source")[failed["place"]]
    chosen = pl.concat([failed, found], how="horizontal").sort("rule", "doc_id", "at")
    chosen = chosen.group_by("rule", maintain_order=True).head(SHOWN)
    rows = []
    for rule, at, place, doc_id, source in chosen.select("rule", "at", "place", "doc_id", "source").iter_rows():
        row = {"kind": rule, "doc_id": doc_id, "source": source}
        rows.append({**row, "pieces": _between(lines, at, place)})
    return rows


def _between(lines: pl.DataFrame, at: int, place: int) -> list[Piece]:
    line = lines["text"][at]
    pieces = [_piece(line[:_CHANGE], "del"), _piece("…" if len(line) > _CHANGE else "")]
    before, after = lines[max(0, at - _BESIDE) : at], lines[at + 1 : at + 1 + _BESIDE]
    head, tail = ("\n".join(beside.filter(pl.col("place") == place)["text"]) for beside in (before, after))
    if head:
        pieces.insert(0, _piece(f"{'…' if len(head) > _AROUND else ''}{head[-_AROUND:]}\n"))
    if tail:
        pieces.append(_piece(f"\n{tail[:_AROUND]}{'…' if len(tail) > _AROUND else ''}"))
    return [piece for piece in pieces if piece["text"]]


class Judged:
    """The values of a part's documents per rule."""

    def __init__(self) -> None:
        self._groups: list[tuple[np.ndarray, pl.DataFrame]] = []

    def add(self, places: pl.Series, values: pl.DataFrame) -> None:
        """``values``: a column per rule, a row for each of ``places`` (ascending)."""
        self._groups.append((places.to_numpy(), values))

    def near_misses(self, kept: pl.DataFrame, rules: Mapping[str, RuleSpec]) -> list[dict[str, Any]]:
        """For each bound of each rule, the documents of ``kept`` whose values are nearest to it.

        All of them passed, so these are the lowest values for a ``min`` and the highest for a ``max``. Another bound
        that drops the same documents gives the same rows.
        """
        kept = kept.select("place", "doc_id", "source", "text").sort("doc_id")
        rows: list[dict[str, Any]] = []
        for places, values in self._groups:
            found = np.searchsorted(places, kept["place"].to_numpy())
            for rule in values.columns:
                column = values[rule].to_numpy()[found]
                for bound, sign in (("min", 1.0), ("max", -1.0)):
                    if getattr(rules[rule], bound) is not None:
                        nearest = _lowest(sign * column)
                        rows += _near_rows(rule, bound, column[nearest], kept[nearest])
        return rows


def _lowest(values: np.ndarray) -> np.ndarray:
    """The places of the ``SHOWN`` lowest values, in ascending order (ties: the first)."""
    if len(values) <= SHOWN:
        return np.argsort(values, kind="stable")
    last = np.partition(values, SHOWN - 1)[SHOWN - 1]
    below = np.flatnonzero(values < last)
    below = below[np.argsort(values[below], kind="stable")]
    return np.concatenate([below, np.flatnonzero(values == last)[: SHOWN - len(below)]])


def _near_rows(rule: str, bound: str, values: np.ndarray, documents: pl.DataFrame) -> Iterator[dict[str, Any]]:
    documents = documents.select("doc_id", "source", pl.col("text").str.slice(0, _EXCERPT + 1))
    for value, (doc_id, source, text) in zip(values.tolist(), documents.iter_rows(), strict=True):
        excerpt = f"{text[:_EXCERPT]}…" if len(text) > _EXCERPT else text
        row = {"rule": rule, "bound": bound, "value": value}
        yield {**row, "doc_id": doc_id, "source": source, "excerpt": excerpt}


def write_edits(out: Path, name: str, rows: Sequence[Any]) -> None:
    """Write the sampled edits of the part ``name``; ``join_samples`` joins the parts."""
    write_part(out / _FOLDER / EDITS / f"{name}.parquet", pl.DataFrame(rows, schema=_EDIT, orient="row"))


def write_near_misses(out: Path, name: str, rows: Sequence[Any]) -> None:
    """Write the near misses of the part ``name``, likewise."""
    write_part(out / _FOLDER / NEAR_MISSES / f"{name}.parquet", pl.DataFrame(rows, schema=_NEAR, orient="row"))


def join_samples(out: Path) -> None:
    """Join the samples of all parts into ``edits.jsonl`` and ``near_misses.jsonl`` in ``out``."""
    folder = out / _FOLDER
    if (folder / EDITS).is_dir():
        edits = _reduced(sorted((folder / EDITS).iterdir()), _EDIT, _fewer_edits)
        shown = edits.filter(pl.col("pieces").list.len() > 0).group_by("kind", maintain_order=True).head(SHOWN)
        _write_lines(out / EDITS, shown)
    if (folder / NEAR_MISSES).is_dir():
        _write_lines(out / NEAR_MISSES, _reduced(sorted((folder / NEAR_MISSES).iterdir()), _NEAR, _fewer_near))
    if folder.is_dir():
        shutil.rmtree(folder)  # the part store keeps its own copies


def _reduced(
    paths: Iterable[Path], schema: Mapping[str, Any], fewer: Callable[[pl.DataFrame], pl.DataFrame]
) -> pl.DataFrame:
    """Apply ``fewer`` to the rows of all parts; memory holds a few parts at a time."""
    frames = [pl.DataFrame(schema=schema)]
    for path in paths:
        frames.append(read_part(path))
        if len(frames) > _PARTS_AT_ONCE:
            frames = [fewer(pl.concat(frames))]
    return fewer(pl.concat(frames))


def _fewer_edits(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.sort("kind", "doc_id", maintain_order=True).group_by("kind", maintain_order=True).head(_CANDIDATES)


def _fewer_near(rows: pl.DataFrame) -> pl.DataFrame:
    nearness = pl.when(pl.col("bound") == "min").then("value").otherwise(-pl.col("value"))
    ordered = rows.sort("rule", "bound", nearness, "doc_id", maintain_order=True)
    return ordered.group_by("rule", "bound", maintain_order=True).head(SHOWN)


def _write_lines(path: Path, rows: pl.DataFrame) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.iter_rows(named=True)), "utf-8")
