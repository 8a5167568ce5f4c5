"""A planner over an experiment's graph and the store of this machine."""

from llm_core.graph.code_digest import CodeReader
from llm_core.graph.graph import Graph
from llm_core.graph.plan import Planner
from llm_core.graph.provenance import library_versions
from llm_core.store.home import PROJECT
from llm_core.store.store import Store

_READER = CodeReader(PROJECT)
"""One for the life of the process: what it has imported is what runs, whatever happens to the files meanwhile."""


def open_planner(graph: Graph, store: Store) -> Planner:
    """A planner that sees the code of this process."""
    return Planner(graph, store, _READER, library_versions())
