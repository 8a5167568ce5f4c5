"""Whether Dagster knows all artifacts of an experiment as they are: then an all-hit run would tell it nothing new.

A small file in ``DAGSTER_HOME`` has a digest of what the last whole run reported. Every run of the experiment removes
it at its start, so that it never stands for a run in between.
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
    """Whether all stages are hits, and the last whole run reported these artifacts and checks to Dagster."""
    now = _state(graph, items)
    path = _file(graph, store)
    return now is not None and path.is_file() and path.read_text(encoding="utf-8") == now


def remember(graph: Graph, store: Store, items: Iterable[PlanItem]) -> None:
    """Write down what a successful run of all stages has reported."""
    now = _state(graph, items)
    if now is not None:
        path = _file(graph, store)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, now.encode())


def forget(graph: Graph, store: Store) -> None:
    """A run begins."""
    _file(graph, store).unlink(missing_ok=True)


def _file(graph: Graph, store: Store) -> Path:
    name = digest_of({"store": str(store.root)})[:12]
    return (
        Path(os.environ.get("DAGSTER_HOME") or store.root.parent / "dagster")
        / "reported"
        / f"{graph.experiment}-{name}"
    )


def _state(graph: Graph, items: Iterable[PlanItem]) -> str | None:
    """A digest of all artifacts and their checks by the bounds of now; None when something is to be made."""
    state = {}
    for item in items:
        if item.artifact is None:
            return None
        checks = [asdict(check) for check in evaluate(graph[item.stage], item.artifact)]
        state[item.stage] = f"{item.artifact.path} {item.artifact.manifest.content} {checks}"
    return digest_of(state)
