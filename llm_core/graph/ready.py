"""Whether the stages of a run could begin: asked once, before the first of them is made."""

from collections.abc import Collection

from llm_core.errors import PedigreeError
from llm_core.graph.job import Runtime
from llm_core.graph.plan import Planner
from llm_core.registry import load_object


def check_ready(planner: Planner, names: Collection[str], runtime: Runtime) -> None:
    """``PedigreeError`` where a stage among ``names`` is to be made and lacks what it needs on this machine."""
    problems: dict[str, PedigreeError] = {}
    for stage in planner.graph:
        if stage.name in names and stage.ready is not None:
            try:
                load_object(stage.ready)(runtime)
            except PedigreeError as error:
                problems[stage.name] = error
    for item in planner.plan(set(problems)) if problems else []:
        if item.stage in problems and item.verdict in ("run", "maybe"):
            raise PedigreeError(f"{item.stage} could not begin, so nothing was begun: {problems[item.stage]}")
