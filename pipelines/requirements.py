"""Packages that stages need in addition to the base installation; checked before any work."""

from collections.abc import Iterable

from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import Experiment
from llm_core.extras import advice, is_installed
from llm_core.graph.graph import Graph
from llm_core.graph.plan import PlanItem

PACKAGES = {
    "llm_core.train.training_run": {"torch": "train", "safetensors": "train"},
    "llm_core.evals.evaluation": {"torch": "train", "safetensors": "train", "lm_eval": "eval"},
    "llm_core.evals.samples": {"torch": "train", "safetensors": "train"},
    "llm_core.model.hf.export_stage": {"torch": "train", "safetensors": "train"},
}
"""Module of a build function → package that it needs → the extra that installs the package."""


def check_requirements(experiment: Experiment, graph: Graph, items: Iterable[PlanItem]) -> None:
    """Raise ``PedigreeError`` if a stage that will be made needs a package that is not installed."""
    stages = [graph[item.stage] for item in items if item.verdict in ("run", "maybe")]
    missing: dict[str, tuple[str, list[str]]] = {}
    for stage in stages:
        needed = dict(PACKAGES.get(stage.build.partition(":")[0], {}))
        if stage.parts and experiment.compute.map == "ray":
            needed["ray"] = "ray"
        for package, extra in needed.items():
            if not is_installed(package):
                missing.setdefault(package, (extra, []))[1].append(stage.name)
    if missing:
        lines = [f"{package}, for {_named(names)}" for package, (_, names) in missing.items()]
        extras = sorted({extra for extra, _ in missing.values()})
        raise PedigreeError(f"not installed: {'; '.join(lines)}. Before anything is made, {advice(*extras)}")


def _named(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
