"""Whether the stages of a run may and can begin: asked once, before the first of them is made."""

from collections.abc import Collection

from llm_core.errors import PedigreeError
from llm_core.graph.consent import require_yes
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.registry import load_object


def check_ready(planner: Planner, items: Collection[PlanItem], runtime: Runtime) -> None:
    """``PedigreeError`` where a stage of ``items`` is to be made and lacks what it needs on this machine, or a yes."""
    for item in items:
        ready = planner.graph[item.stage].ready
        if ready is not None and item.verdict in ("run", "maybe"):
            try:
                load_object(ready)(runtime)
            except PedigreeError as error:
                raise PedigreeError(f"{item.stage} could not begin, so nothing was begun: {error}") from None
    for item in items:
        require_yes(planner, item, runtime)
