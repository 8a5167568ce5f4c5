"""The planner for an experiment's graph and the store of this machine."""

from functools import cache
from pathlib import Path

from llm_core.graph.code_memory import RememberingReader
from llm_core.graph.graph import Graph
from llm_core.graph.plan import Planner
from llm_core.graph.provenance import library_versions
from llm_core.loaded_code import LOADED
from llm_core.plugins import loaded_plugins
from llm_core.store.home import PROJECT, pedigree_home
from llm_core.store.store import Store


@cache
def _reader(home: Path, plugins: tuple[str, ...]) -> RememberingReader:
    """One per process, because a process runs the code that it imported, even if the files change later."""
    return RememberingReader(PROJECT, home / "store" / "stamps" / "code.json", LOADED, plugins=plugins)


def open_planner(graph: Graph, store: Store) -> Planner:
    """A planner that reads the code of this process."""
    return Planner(graph, store, _reader(pedigree_home(), loaded_plugins()), library_versions())
