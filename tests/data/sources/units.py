"""Runs the tasks of a source, and reads back what they wrote."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from llm_core.data.records import BadRecord, Document
from llm_core.graph.part import PartTask, PartWork


def made(tasks: Sequence[PartTask], stats: list[dict] | None = None) -> list[Document | BadRecord]:
    """Documents and bad records of all tasks, by origin and row."""
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            inputs = {role: file.path for role, file in task.inputs.items()}
            found = task.function(PartWork(task.name, inputs, task.settings, Path(folder)), **task.config)
            if stats is not None:
                stats.append(found)
        documents = [
            Document(row["origin"], row["row"], row["text"], len(row["text"].encode()), row["url"])
            for path in sorted(Path(folder, "parts").glob("*.parquet"))
            for row in pl.read_parquet(path).iter_rows(named=True)
        ]
        bad = [
            BadRecord(row["origin"], row["row"], row["reason"], row["excerpt"])
            for path in sorted(Path(folder, "bad_records").glob("*.parquet"))
            for row in pl.read_parquet(path).iter_rows(named=True)
        ]
    return sorted([*documents, *bad], key=lambda record: record[:2])
