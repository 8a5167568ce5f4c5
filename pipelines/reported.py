"""Whether Dagster knows the current artifacts of an experiment: if so, a run in which all are hits is not needed.

A small file in ``DAGSTER_HOME`` records what the last complete run reported. Every run of the experiment removes it at
its start, so that it is never out of date.
"""

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from llm_core.graph.checks import evaluate
from llm_core.graph.code_digest import digest_of
from llm_core.graph.graph import Graph
from llm_core.graph.plan import PlanItem
from llm_core.store.files import write_atomically
from llm_core.store.store import Store


def knows_all(graph: Graph, store: Store, items: Iterable[PlanItem]) -> bool:
    """Whether all stages are hits, and the last complete run reported exactly these artifacts and checks."""
    now = _state(graph, items)
    path = _file(graph, store)
    return now is not None and path.is_file() and path.read_text(encoding="utf-8") == now


def remember(graph: Graph, store: Store, items: Iterable[PlanItem]) -> None:
    """Record what a complete run reported, after its success."""
    now = _state(graph, items)
    if now is not None:
        path = _file(graph, store)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, now.encode())


def forget(graph: Graph, store: Store) -> None:
    """Remove the record, at the start of a run."""
    _file(graph, store).unlink(missing_ok=True)


def _file(graph: Graph, store: Store) -> Path:
    name = digest_of({"store": str(store.root)})[:12]
    return (
        Path(os.environ.get("DAGSTER_HOME") or store.root.parent / "dagster")
        / "reported"
        / f"{graph.experiment}-{name}"
    )


def _state(graph: Graph, items: Iterable[PlanItem]) -> str | None:
    """A digest of all artifacts and of their checks by the current bounds. None if a stage is to be made."""
    state = {}
    for item in items:
        if item.artifact is None:
            return None
        checks = [asdict(check) for check in evaluate(graph[item.stage], item.artifact)]
        state[item.stage] = f"{item.artifact.path} {item.artifact.manifest.content} {checks}"
    return digest_of(state)
