"""What the stages of tuning did with one conversation, from its record to its tokens, or until it was dropped."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.parquet_parts import part_paths, read_part
from llm_core.data.records import document_id
from llm_core.errors import PedigreeError
from llm_core.tokens.history import History, Station
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.target_mask import target_mask

_FACTS = ("rule", "suite", "item", "excerpt")


def conversation_history(folders: Mapping[str, Path], name: str, document: str) -> History | None:
    """The history of a conversation of the section ``name``; None if it is in none of its records.

    ``folders``: stage → artifact. ``document``: ``source/origin:row``, or a ``doc_id`` or its first characters. A
    record that was dropped is found by its place only. Raises ``PedigreeError`` for several that fit.
    """
    stage = f"{name}_conversations"
    place, _, row = document.rpartition(":")
    source, slash, origin = place.partition("/")
    at_place = bool(slash) and row.isdecimal()
    identity = document_id(source, origin, int(row)) if at_place else document
    kept = list(_rows(folders[stage] / "parts", pl.col("doc_id").str.starts_with(identity)))
    if len(kept) > 1:
        raise PedigreeError(f"{document!r} is the start of {len(kept)} conversations of {stage}; look at its digits")
    for file, found in kept:
        facts = {"turns": len(found["roles"]), "characters": sum(map(len, found["contents"]))}
        stations = [Station(stage, "kept", f"parts/{file}", facts)]
        if f"{name}_shards" in folders:
            stations.append(_encoded(f"{name}_shards", folders[f"{name}_shards"], found["doc_id"]))
        return History(found["doc_id"], found["source"], found["origin"], found["row"], None, stations)
    if at_place:
        which = (pl.col("source") == source) & (pl.col("origin") == origin) & (pl.col("row") == int(row))
        for file, found in _rows(folders[stage] / "dropped", which):
            facts = {fact: found[fact] for fact in _FACTS if found[fact] is not None}
            return History(
                identity, source, origin, int(row), None, [Station(stage, "dropped", f"dropped/{file}", facts)]
            )
    return None


def _rows(folder: Path, which: pl.Expr) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file, row) of all rows for which ``which`` holds."""
    for path in part_paths(folder):
        for row in read_part(path).filter(which).iter_rows(named=True):
            yield path.name, row


def _encoded(stage: str, shards: Path, doc_id: str) -> Station:
    table = pl.scan_parquet(shards / "documents.parquet", glob=False)
    for row in table.filter(pl.col("doc_id") == doc_id).collect().to_dicts():
        reader = ShardReader(shards, row["split"])
        mask, length = target_mask(reader), row["token_end"] - row["token_start"]
        assert mask is not None
        targets = int(mask.spans(np.array([row["stream_start"]]), np.array([length])).sum())
        facts = {"stream_start": row["stream_start"], "tokens": length, "targets": targets}
        return Station(stage, row["split"], "documents.parquet", facts)
    return Station(stage, "left out", "", {"because": "it is longer than a sequence"})
