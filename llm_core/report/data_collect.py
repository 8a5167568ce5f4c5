"""Collects the data report's numbers from the artifacts of the data stages."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from llm_core.data.clean import NOTABLE_DROPS
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.report import data_cleaning, read
from llm_core.report.data_samples import Excerpt, dropped_samples, kept_samples, side_by_side, texts_of
from llm_core.report.formatting import exact, in_bytes, percent, short
from llm_core.report.read import Inputs
from llm_core.store.manifest import Artifact

RAW, SPLIT = read.RAW, read.SPLIT
STAGES = {
    "clean_documents": "clean",
    "judged_documents": "judged",
    "unique_documents": "unique",
    "decontaminated_documents": "decontaminated",
    "pretraining_documents": "split",
}
"""The stages that drop documents, in order."""
LARGEST, PAIRS = 10, 6
SOURCES = 12
"""Columns of tables by source. Further sources share one column."""
SOURCE_ROWS = 25
POOL = 1000
"""Near duplicates from which pairs are picked: those with the lowest identities."""
NONE = "\N{EN DASH}"


def dropping(inputs: Inputs) -> dict[str, Artifact]:
    """The stages that drop documents, as far as they are among the inputs."""
    return {stage: inputs[stage] for stage in STAGES if stage in inputs}


def flow(artifact: Artifact) -> dict[str, Any]:
    """A stage's funnel (see ``llm_core.data.funnel``): source → documents that came, stayed, were dropped by rule."""
    return dict(read.funnel(artifact).funnel)


def unaccounted(inputs: Inputs) -> list[str]:
    """Differences, source by source, between a stage's input and the output of the stage before. Should be empty.

    The shards are compared with the whole splits, without sources.
    """
    before = dict(read.raw(inputs).documents_by_source)
    found = []
    for stage, artifact in dropping(inputs).items():
        for source, counts in flow(artifact).items():
            came = before.pop(source, 0)
            gone = sum(rule["documents"] for rule in counts["dropped"].values())
            if came != counts["documents_in"] or counts["documents_in"] != counts["documents"] + gone:
                seen, stayed = counts["documents_in"], counts["documents"]
                found.append(f"{stage}, {source}: {came} came, {seen} were read, {stayed} stayed, {gone} were dropped")
        found += [f"{stage}, {source}: {count} came, none was read" for source, count in before.items() if count]
        before = {source: counts["documents"] for source, counts in flow(artifact).items()}
    split = read.split(inputs)
    sides = split.train_documents + split.heldout_documents
    if sides != split.documents:
        found.append(f"{SPLIT}: {split.documents} stayed, {sides} are in the splits")
    for name, came in (("train", split.train_documents), ("heldout", split.heldout_documents)):
        encoded = _shards(inputs)["splits"][name]["documents"]
        if encoded != came:
            found.append(f"token_shards, {name}: {came} came, {encoded} are in the shards")
    return found


def _shards(inputs: Inputs) -> dict[str, Any]:
    """The shards' index."""
    index: dict[str, Any] = json.loads((inputs["token_shards"].path / "shards.json").read_bytes())
    return index


def text_by_stage(inputs: Inputs) -> list[tuple[str, dict[str, int]]]:
    """(stage, source → bytes of text)."""
    rows = [("raw", dict(read.raw(inputs).bytes_by_source))]
    for stage, artifact in dropping(inputs).items():
        rows.append((STAGES[stage], {source: item["bytes"] for source, item in flow(artifact).items()}))
    return rows


def funnel(inputs: Inputs) -> list[dict[str, str]]:
    """The rows of the funnel: every stage, and every rule that dropped something, with documents and bytes."""
    raw, split = read.raw(inputs), read.split(inputs)
    documents, size = raw.documents, raw.bytes
    rows = [_level("raw documents", documents, size, documents, size)]
    before = size
    for stage, artifact in dropping(inputs).items():
        for rule, counts in drops_by_rule(artifact):
            rows.append(
                {
                    "name": words(rule),
                    "documents": f"−{exact(counts['documents'])}",
                    "size": f"−{in_bytes(counts['bytes'])}",
                    "share": percent(counts["documents"] / documents) if documents else NONE,
                    "bytes_share": percent(counts["bytes"] / size) if size else NONE,
                    "kind": "drop",
                }
            )
        stayed = read.funnel(artifact)
        edited = before - stayed.bytes - sum(item["bytes"] for _, item in drops_by_rule(artifact))
        before = stayed.bytes
        if edited:
            less = edited > 0
            rows.append(
                {
                    "name": f"text that edits {'take from' if less else 'add to'} documents",
                    "documents": "",
                    "size": f"{'−' if less else '+'}{in_bytes(abs(edited))}",
                    "share": "",
                    "bytes_share": percent(abs(edited) / size) if size else NONE,
                    "kind": "drop",
                }
            )
        if stage != SPLIT:
            rows.append(_level(f"{STAGES[stage]} documents", stayed.documents, stayed.bytes, documents, size))
    return [
        *rows,
        _level("training split", split.train_documents, split.train_bytes, documents, size),
        _level("held-out split", split.heldout_documents, split.heldout_bytes, documents, size),
    ]


def _level(name: str, documents: int, size: int, of_documents: int, of_bytes: int) -> dict[str, str]:
    return {
        "name": name,
        "documents": exact(documents),
        "size": in_bytes(size),
        "share": percent(documents / of_documents) if of_documents else NONE,
        "bytes_share": percent(size / of_bytes) if of_bytes else NONE,
        "kind": "level",
    }


def drops_by_rule(artifact: Artifact) -> list[tuple[str, dict[str, int]]]:
    """(rule, documents and bytes over all sources), most drops first."""
    found: dict[str, Counter[str]] = {}
    for counts in flow(artifact).values():
        for rule, dropped in counts["dropped"].items():
            found.setdefault(rule, Counter()).update(dropped)
    ordered = sorted(found.items(), key=lambda item: (-item[1]["documents"], item[0]))
    return [(rule, dict(counts)) for rule, counts in ordered if counts["documents"]]


def rules_by_source(inputs: Inputs) -> dict[str, Any] | None:
    """A table of drops per rule and source, and of the rest after each stage. None if nothing was dropped.

    Shares are relative to the documents of the source that came to the stage. ``notable``: the findings of cleaning's
    check ``drops_by_rule``. With many sources, two groups have their own columns: the largest sources, and those from
    which one rule of cleaning drops the most documents.
    """
    columns = _columns(inputs)
    rows: list[dict[str, Any]] = []
    for stage, artifact in dropping(inputs).items():
        found = flow(artifact)
        came = {source: counts["documents_in"] for source, counts in found.items()}
        rules = [
            (words(rule), counts, {source: found[source]["dropped"].get(rule) for source in found}, "drop")
            for rule, counts in drops_by_rule(artifact)
        ]
        if rules:
            stayed = read.left(artifact)
            total = {"documents": stayed.documents, "bytes": stayed.bytes}
            rules.append((f"{STAGES[stage]} documents", total, found, "level"))
        for name, counts, by_source, kind in rules:
            bound = NOTABLE_DROPS if kind == "drop" and stage == data_cleaning.STAGE else 1.0
            cells = [_cell(sources, by_source, came, kind, bound) for _, sources in columns]
            rows.append(
                {
                    "name": name,
                    "all": {
                        "share": exact(counts["documents"]),
                        "counts": in_bytes(counts["bytes"]),
                        "notable": False,
                    },
                    "cells": cells,
                    "kind": kind,
                }
            )
    notable = any(cell["notable"] for row in rows for cell in row["cells"])
    return {"sources": [title for title, _ in columns], "rows": rows, "notable": notable} if rows else None


def _columns(inputs: Inputs) -> list[tuple[str, list[str]]]:
    """(title, sources) of the table's columns, in the order of the sources. The last one may contain all others."""
    raw = read.raw(inputs)
    sources = [source for source, count in raw.documents_by_source.items() if count]
    own = sources
    if len(sources) > SOURCES + 1:
        own = sorted(sources, key=lambda source: (-raw.bytes_by_source[source], source))[: SOURCES // 2]
        clean = flow(inputs[data_cleaning.STAGE])
        most = {
            source: max((rule["documents"] for rule in counts["dropped"].values()), default=0)
            for source, counts in clean.items()
            if source not in own
        }
        own += sorted(most, key=lambda source: (-most[source], source))[: SOURCES - len(own)]
    others = [source for source in sources if source not in own]
    rest = [(f"{len(others)} others", others)] if others else []
    return [*((source, [source]) for source in sources if source in own), *rest]


def _cell(
    sources: Sequence[str], found: Mapping[str, Any], came: Mapping[str, int], kind: str, bound: float
) -> dict[str, Any]:
    counted = [counts for counts in map(found.get, sources) if counts is not None]
    documents, size = (sum(counts[name] for counts in counted) for name in ("documents", "bytes"))
    all_came = sum(came.get(source, 0) for source in sources)
    if not documents:
        return {"share": "0%" if kind == "level" and all_came else NONE, "counts": "", "notable": False}
    share, told = documents / all_came, f"{exact(documents)} · {in_bytes(size)}"
    return {"share": percent(share), "counts": told, "notable": share > bound}


def drop_samples(inputs: Inputs, cleaning: CleaningSpec) -> list[dict[str, Any]]:
    """Per stage and rule: the number of drops, and excerpts of some, each with the rule's finding.

    Rules of cleaning and the quality score also have bounds and near misses. Rules without drops come last in their
    stage.
    """
    found = []
    for stage, artifact in dropping(inputs).items():
        known = data_cleaning.bounds(stage, artifact, cleaning)
        near = data_cleaning.near_misses(artifact, known)
        samples, busy = dropped_samples(artifact.path / "dropped"), dict(drops_by_rule(artifact))
        for rule in [*busy, *(rule for rule in known if rule in near and rule not in busy)]:
            found.append(
                {
                    "stage": STAGES[stage],
                    "rule": words(rule),
                    "count": exact(busy[rule]["documents"]) if rule in busy else "none",
                    "bounds": data_cleaning.told_bounds(known[rule]) if rule in known else "",
                    "cards": [{"excerpt": excerpt, "facts": _facts(more)} for excerpt, more in samples.get(rule, [])],
                    "near": near.get(rule, []),
                }
            )
    return found


def _facts(more: Mapping[str, Any]) -> str:
    shown = [
        f"{words(name)} {value:.4g}" if isinstance(value, float) else f"{words(name)} {value}"
        for name, value in more.items()
        if name not in ("rule", "kept_doc_id", "url") and value is not None
    ]
    return ", ".join(shown)


def kept(inputs: Inputs) -> list[Excerpt]:
    """A sample of the training documents."""
    return kept_samples(inputs[SPLIT].path / "train")


def clusters(inputs: Inputs) -> dict[str, Any] | None:
    """Sizes of clusters, the largest clusters, and pairs side by side. None without near duplicates.

    Memory is bounded: only some of the clusters are loaded.
    """
    if read.UNIQUE not in inputs or not read.unique(inputs).clusters:
        return None
    artifact, results = inputs[read.UNIQUE], read.unique(inputs)
    members = pl.scan_parquet(artifact.path / "clusters.parquet", glob=False)
    heads = members.filter("kept")
    bins: Counter[int] = Counter()
    for size, count in heads.group_by("size").len().collect(engine="streaming").iter_rows():
        bins[int(size).bit_length() - 1] += count
    return {
        "sizes": {str(place): count for place, count in sorted(bins.items())},
        "documents": members.select(pl.len()).collect(engine="streaming").item(),
        "clusters": results.clusters,
        "across": results.clusters_across_sources,
        "largest": _largest(artifact, members),
        "pairs": _pairs(artifact, members),
    }


def _largest(artifact: Artifact, members: pl.LazyFrame) -> list[dict[str, Any]]:
    heads = members.filter("kept").top_k(LARGEST, by=["size", "doc_id"]).collect(engine="streaming")
    heads = heads.sort("size", "doc_id", descending=True)
    named = members.filter(pl.col("cluster").is_in(heads["cluster"].to_list()))
    counted = named.group_by("cluster", "source").agg(pl.len(), pl.col("similarity").min()).collect(engine="streaming")
    texts = texts_of(artifact.path / "parts", heads["doc_id"].to_list())
    rows = []
    for cluster, doc_id, size in heads.select("cluster", "doc_id", "size").iter_rows():
        own = counted.filter(pl.col("cluster") == cluster)
        sources = sorted(own.select("source", "len").iter_rows(), key=lambda item: (-item[1], item[0]))
        most = [f"{source} ({exact(count)})" for source, count in sources[:LARGEST]]
        if len(sources) > LARGEST:
            most.append(f"{len(sources) - LARGEST} others")
        rows.append(
            {
                "size": exact(size),
                "sources": ", ".join(most),
                "least": f"{min(own['similarity'].to_list()):.2f}",
                "doc_id": doc_id,
                "text": " ".join(texts[doc_id]["text"][:400].split())[:160],
            }
        )
    return rows


def _pairs(artifact: Artifact, members: pl.LazyFrame) -> list[dict[str, Any]]:
    """Near duplicates, the least similar first, each beside the document that was kept instead."""
    near = members.filter(pl.col("rule") == "near_duplicate").bottom_k(POOL, by="doc_id").collect(engine="streaming")
    if not near.height:
        return []
    near = near.sort("similarity", "doc_id")
    count = min(PAIRS, near.height)
    chosen = near[[round(place * (near.height - 1) / max(count - 1, 1)) for place in range(count)]]
    heads = members.filter("kept", pl.col("cluster").is_in(chosen["cluster"].to_list()))
    staying = dict(heads.select("cluster", "doc_id").collect(engine="streaming").iter_rows())
    gone = texts_of(artifact.path / "dropped", chosen["doc_id"].to_list())
    stays = texts_of(artifact.path / "parts", sorted(staying.values()))
    found = []
    for row in chosen.to_dicts():
        left, right = stays[staying[row["cluster"]]], gone[row["doc_id"]]
        one, other = side_by_side(left["text"], right["text"])
        found.append(
            {
                "similarity": f"{row['similarity']:.2f}",
                "sides": [
                    {"what": "stays", "row": left, "pieces": one},
                    {"what": "dropped", "row": right, "pieces": other},
                ],
            }
        )
    return found


def tokens_by_source(inputs: Inputs) -> list[dict[str, Any]]:
    """(source, tokens, documents, share) of the training split, the largest first."""
    totals: dict[str, Counter[str]] = {}
    for shard in _shards(inputs)["splits"]["train"]["shards"]:
        totals.setdefault(shard["source"], Counter()).update(tokens=shard["tokens"], documents=shard["documents"])
    total = sum(counts["tokens"] for counts in totals.values())
    return [
        {
            "source": source,
            "tokens": counts["tokens"],
            "documents": counts["documents"],
            "share": counts["tokens"] / total if total else 0.0,
            "mean": counts["tokens"] / counts["documents"] if counts["documents"] else 0.0,
        }
        for source, counts in sorted(totals.items(), key=lambda item: (-item[1]["tokens"], item[0]))
    ]


def token_rows(inputs: Inputs) -> list[dict[str, str]]:
    """The same as texts. With many sources, the smallest share one row."""
    rows = tokens_by_source(inputs)
    if len(rows) > SOURCE_ROWS + 1:
        others = rows[SOURCE_ROWS:]
        total = {name: sum(row[name] for row in others) for name in ("tokens", "share", "documents")}
        mean = total["tokens"] / total["documents"] if total["documents"] else 0.0
        rows = [*rows[:SOURCE_ROWS], {"source": f"{len(others)} others", **total, "mean": mean}]
    return [
        {
            "source": row["source"],
            "tokens": short(row["tokens"]),
            "share": percent(row["share"]),
            "documents": exact(row["documents"]),
            "mean": exact(row["mean"]),
        }
        for row in rows
    ]


def words(name: str) -> str:
    """A name from the code as words for people."""
    return name.replace("_", " ")
