"""A session: an experiment, its graph, the store, and a planner. Every command opens one."""

from dataclasses import dataclass

from assets.graph import experiment_graph
from llm_core.experiment.experiment import Experiment
from llm_core.graph.graph import Graph
from llm_core.graph.plan import Planner
from llm_core.store.home import pedigree_home
from llm_core.store.store import Store
from pipelines.experiments import open_experiment
from pipelines.planner import open_planner


@dataclass(frozen=True)
class Session:
    """One experiment over the store of this machine."""

    experiment: Experiment
    graph: Graph
    store: Store

    def planner(self) -> Planner:
        """A planner with a fresh view of sources and store."""
        return open_planner(self.graph, self.store)


def open_session(name: str) -> Session:
    """The session of an experiment, by name or path."""
    experiment = open_experiment(name)
    return Session(experiment, experiment_graph(experiment), Store(pedigree_home() / "store"))
