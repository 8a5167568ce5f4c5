"""Checks once, before the first stage of a run is built, that all its stages can begin and have consent."""

from collections.abc import Collection

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.extras import advice, is_installed
from llm_core.graph.consent import require_consent, require_open
from llm_core.graph.execute import look_up
from llm_core.graph.graph import Graph
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.registry import load_object


def check_requirements(planner: Planner, items: Collection[PlanItem], runtime: Runtime) -> None:
    """Raise ``PedigreeError`` when a stage to be built can't begin on this machine, lacks the user's consent, has a
    closed gate, or reads what the network does not have: a late stage would find that out after hours."""
    check_packages(planner.graph, items, runtime.compute)
    for item in items:
        check = planner.graph[item.stage].requirements
        if check is not None and item.verdict in ("run", "maybe"):
            try:
                load_object(check)(runtime)
            except PedigreeError as error:
                raise PedigreeError(f"{item.stage} could not begin, so nothing was started: {error}") from None
    for item in items:
        require_open(planner, item, runtime)
        require_consent(planner, item, runtime)
    for item in items:
        if item.verdict in ("run", "maybe"):
            look_up(planner.graph[item.stage])


def check_packages(graph: Graph, items: Collection[PlanItem], compute: ComputeSpec) -> None:
    """Raise ``PedigreeError`` when a stage to be built needs a package that is not installed."""
    missing: dict[str, tuple[str, list[str]]] = {}
    for stage in [graph[item.stage] for item in items if item.verdict in ("run", "maybe")]:
        of_workers = {"ray": "ray"} if stage.parts and compute.map == "ray" else {}
        for package, extra in {**stage.packages, **of_workers}.items():
            if not is_installed(package):
                missing.setdefault(package, (extra, []))[1].append(stage.name)
    if missing:
        lines = [
            f"{package}, for {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            for package, (_, names) in missing.items()
        ]
        extras = sorted({extra for extra, _ in missing.values()})
        raise PedigreeError(f"not installed: {'; '.join(lines)}. Before anything is made, {advice(*extras)}")
