"""Money is asked for: what is dear, and has nothing but changed code for a reason, waits for a yes."""

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import AskSpec
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.graph.price import duration, price

_CHANGES_SHOWN = 5


def require_yes(planner: Planner, item: PlanItem, runtime: Runtime) -> None:
    """``PedigreeError`` unless the stage of ``item`` may be made: it is cheap, has other reasons, or somebody agrees.

    A yes counts for all attempts: one that has begun goes on without being asked about again.
    """
    stage, bound = planner.graph[item.stage], runtime.compute.ask_above
    if not (stage.trains and item.from_code) or bound is None:
        return
    assert item.identity is not None
    cost = price(stage, item.previous, runtime.compute)
    if not cost.above(bound) or planner.store.has_begun(stage.kind, item.identity):
        return
    changes = [reason.removesuffix(" changed") for reason in item.reasons]
    more = f" and {len(changes) - _CHANGES_SHOWN} more" if len(changes) > _CHANGES_SHOWN else ""
    facts = (
        f"nothing but code has changed since {stage.name} was trained ({', '.join(changes[:_CHANGES_SHOWN])}{more}), "
        f"and to train it again takes about {cost} (by the {cost.source}), more than compute.ask_above ({_told(bound)})"
    )
    if runtime.agree(f"{facts[0].upper()}{facts[1:]}."):
        return
    accept = f"If the change can't have changed the result: pedigree accept {stage.name} --why '…'. "
    raise PedigreeError(
        f"{stage.name} is not trained without a yes: {facts}. What was trained before is kept, and nothing that "
        f"follows is made. {accept if item.only_code else ''}To train it again: pedigree run --yes, or pedigree launch "
        "--yes (in Dagster: resources.consent.config.agreed: true)"
    )


def _told(bound: AskSpec) -> str:
    hours = [] if bound.hours is None else [duration(3600 * bound.hours)]
    return ", ".join([*hours, *([] if bound.dollars is None else [f"${bound.dollars:,.2f}"])])
