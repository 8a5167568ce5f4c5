"""What holds for every source."""

import pickle
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from llm_core.contracts import settings
from llm_core.contracts.example import Check, Example
from llm_core.data.parquet_parts import DOCUMENT
from llm_core.data.sources.reader import SourceReader
from llm_core.graph.part import PartTask, PartWork
from llm_core.registry import load_object

COUNTS = ("source", "documents", "bytes", "bad", "expected", "skipped")


def has_a_reader(example: Example) -> None:
    """With digests of what it reads."""
    reader = _reader(example)
    digests = reader.source_digests()
    right = isinstance(digests, dict) and all(isinstance(text, str) for pair in digests.items() for text in pair)
    example.hold(right, f"source_digests must return names and digests, both strings; it returns {digests!r}")
    unread = reader.unread_files()
    example.hold(isinstance(unread, list), f"unread_files must return a list of names; it returns {unread!r}")


def its_tasks_write_documents(example: Example) -> None:
    """Each task writes parts, and twice the same."""
    tasks = _tasks(example)
    example.hold(len({task.name for task in tasks}) == len(tasks), "two of its tasks have the same name")
    for task in tasks[:3]:
        found = [_written(example, task) for _ in range(2)]
        example.hold(found[0] == found[1], f"the task {task.name} writes other documents the second time")
        example.hold(found[0], f"the task {task.name} writes no document; choose settings in examples that read some")


def its_tasks_reach_a_worker(example: Example) -> None:
    """Another process imports their function, and the digest follows it."""
    for task in _tasks(example)[:3]:
        try:
            named = load_object(task.target, followed="the function of a task") is task.function
        except AttributeError:
            named = False
        example.hold(
            named, f"the function {task.target} of a task is not at the top level of its module; move it there"
        )
        pickle.dumps((task.inputs, task.config, task.settings))


def _reader(example: Example) -> SourceReader:
    try:
        reader = example.component().reader()
    except TypeError as error:
        example.hold(False, f"{error}; llm_core.data.sources.reader.SourceReader documents them")
        raise
    example.hold(
        isinstance(reader, SourceReader), f"reader returns {type(reader).__name__}; derive it from SourceReader"
    )
    found: SourceReader = reader
    return found


def _tasks(example: Example) -> list[PartTask]:
    tasks = _reader(example).tasks(10)
    example.hold(tasks, "has no tasks with its example settings; choose settings in examples that read some")
    return tasks


def _written(example: Example, task: PartTask) -> list[Any]:
    with tempfile.TemporaryDirectory() as folder:
        inputs = {role: file.path for role, file in task.inputs.items()}
        stats = task.function(PartWork(task.name, inputs, task.settings, Path(folder)), **task.config)
        whole = isinstance(stats, dict) and set(COUNTS) <= set(stats)
        example.hold(whole, f"the task {task.name} returns no statistics: return what write_unit returns")
        parts = sorted(Path(folder, "parts").glob("*.parquet"))
        example.hold(
            all(path.name.startswith(task.name) for path in parts),
            f"the task {task.name} writes files with other names: pass work.name and work.out to write_unit",
        )
        frames = [pl.read_parquet(path) for path in parts]
        right = all(dict(frame.schema) == dict(DOCUMENT) for frame in frames)
        example.hold(right, f"the task {task.name} writes other columns than {', '.join(DOCUMENT)}: use write_unit")
        return [row for frame in frames for row in frame.rows()]


CHECKS: tuple[Check, ...] = (
    *settings.CHECKS,
    has_a_reader,
    its_tasks_reach_a_worker,
    its_tasks_write_documents,
)
