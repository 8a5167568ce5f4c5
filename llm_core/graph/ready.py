"""Checks once, before the first stage of a run is built, that all its stages can begin and have consent."""

from collections.abc import Collection

from llm_core.errors import PedigreeError
from llm_core.graph.consent import require_yes
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.registry import load_object


def check_ready(planner: Planner, items: Collection[PlanItem], runtime: Runtime) -> None:
    """Raise ``PedigreeError`` when a stage to be built can't begin on this machine, or lacks the user's consent."""
    for item in items:
        ready = planner.graph[item.stage].ready
        if ready is not None and item.verdict in ("run", "maybe"):
            try:
                load_object(ready)(runtime)
            except PedigreeError as error:
                raise PedigreeError(f"{item.stage} could not begin, so nothing was started: {error}") from None
    for item in items:
        require_yes(planner, item, runtime)
