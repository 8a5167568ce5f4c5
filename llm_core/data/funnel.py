"""The funnel of a stage: documents and bytes that came in, were kept, and were dropped by each rule, per source."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

Funnel = dict[str, dict[str, Any]]
"""source → {documents_in, bytes_in, documents, bytes, dropped: {rule: {documents, bytes}}}"""


def funnel_of(sources: pl.Series, sizes: pl.Series, rules: pl.Series, sizes_after: pl.Series | None = None) -> Funnel:
    """One part's funnel, from every document's source, bytes, and the rule that dropped it (null: it is kept).

    ``sizes_after``: the bytes of every document afterwards, if the stage changes texts.
    """
    after = sizes if sizes_after is None else sizes_after
    columns = {"bytes": sizes.cast(pl.Int64), "after": after.cast(pl.Int64), "rule": rules.cast(pl.String)}
    counted = pl.DataFrame({"source": sources, **columns}).group_by("source", "rule")
    funnel: Funnel = {}
    for source, rule, documents, size, rest in (
        counted.agg(pl.len(), pl.col("bytes", "after").sum()).sort("source", "rule").iter_rows()
    ):
        _add(funnel, source, rule, documents, size, size if rule is not None else rest)
    return funnel


def funnel_between(before: pl.DataFrame, kept: pl.DataFrame, dropped: pl.DataFrame) -> Funnel:
    """One part's funnel for a stage that changes texts.

    All frames have ``source`` and ``text``; ``dropped`` has ``rule``, too. A dropped document counts with the bytes
    that it had when it was judged. Bytes that edits removed before are in ``bytes_in`` only.
    """
    funnel: Funnel = {}
    for source, documents, size in _sizes(before, "source"):
        funnel[source] = {"documents_in": documents, "bytes_in": size, "documents": 0, "bytes": 0, "dropped": {}}
    for source, documents, size in _sizes(kept, "source"):
        funnel[source] |= {"documents": documents, "bytes": size}
    for source, rule, documents, size in _sizes(dropped, "source", "rule"):
        funnel[source]["dropped"][rule] = {"documents": documents, "bytes": size}
    return funnel


def _sizes(frame: pl.DataFrame, *keys: str) -> Iterator[tuple[Any, ...]]:
    size = pl.col("text").str.len_bytes().sum().cast(pl.Int64)
    return frame.group_by(keys).agg(documents=pl.len(), size=size).sort(keys).iter_rows()


def joined(funnels: Iterable[Funnel]) -> Funnel:
    """The funnel of all parts together, sorted by source and rule."""
    total: Funnel = {}
    for funnel in funnels:
        for source, counts in funnel.items():
            came = counts["bytes_in"] - sum(dropped["bytes"] for dropped in counts["dropped"].values())
            _add(total, source, None, counts["documents"], came, counts["bytes"])
            for rule, dropped in counts["dropped"].items():
                _add(total, source, rule, dropped["documents"], dropped["bytes"], dropped["bytes"])
    return {
        source: {**total[source], "dropped": dict(sorted(total[source]["dropped"].items()))} for source in sorted(total)
    }


def totals(funnel: Mapping[str, Mapping[str, Any]], rules: Iterable[str]) -> dict[str, Any]:
    """Statistics over all sources: documents and bytes in and out, and documents dropped by each of ``rules``."""

    def summed(field: str) -> int:
        return sum(counts[field] for counts in funnel.values())

    by_rule = {
        rule: sum(counts["dropped"].get(rule, {"documents": 0})["documents"] for counts in funnel.values())
        for rule in rules
    }
    return {
        "documents_in": summed("documents_in"),
        "bytes_in": summed("bytes_in"),
        "documents": summed("documents"),
        "bytes": summed("bytes"),
        "dropped": sum(by_rule.values()),
        "dropped_by_rule": by_rule,
        "funnel": funnel,
    }


def _add(funnel: Funnel, source: str, rule: str | None, documents: int, size: int, size_after: int) -> None:
    counts = funnel.setdefault(source, {"documents_in": 0, "bytes_in": 0, "documents": 0, "bytes": 0, "dropped": {}})
    counts["documents_in"] += documents
    counts["bytes_in"] += size
    if rule is not None:
        counts = counts["dropped"].setdefault(rule, {"documents": 0, "bytes": 0})
    counts["documents"] += documents
    counts["bytes"] += size_after
