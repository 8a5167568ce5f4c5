"""The user's consent: for expensive stages that only changed code would rebuild, and for runs whose gate has closed."""

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import AskSpec, ComputeSpec
from llm_core.graph.gates import refusal
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.graph.price import Price, duration, price

_CHANGES_SHOWN = 5
_AGREE = (
    "pedigree run --yes, pedigree launch --yes, or make run YES=1 (in Dagster: resources.consent.config.agreed: true)"
)


def needs_consent(planner: Planner, item: PlanItem, compute: ComputeSpec) -> Price | None:
    """The price of the stage of ``item`` if it needs consent. None when it may be built.

    Consent holds for all attempts: an attempt that has begun continues without asking again.
    """
    stage, bound = planner.graph[item.stage], compute.ask_above
    if item.verdict != "run" or not (stage.trains and item.from_code) or bound is None:
        return None
    assert item.identity is not None
    cost = price(stage, item.previous, compute)
    return cost if cost.above(bound) and not planner.store.has_begun(stage.kind, item.identity) else None


def require_consent(planner: Planner, item: PlanItem, runtime: Runtime) -> None:
    """Raise ``PedigreeError`` unless the stage of ``item`` may be built, or the user agrees."""
    cost, bound = needs_consent(planner, item, runtime.compute), runtime.compute.ask_above
    if cost is None or bound is None:
        return
    changes = [reason.removesuffix(" changed") for reason in item.reasons]
    more = f" and {len(changes) - _CHANGES_SHOWN} more" if len(changes) > _CHANGES_SHOWN else ""
    facts = (
        f"only code has changed since {item.stage} was trained ({', '.join(changes[:_CHANGES_SHOWN])}{more}), and "
        f"training it again takes about {cost} (by the {cost.source}), more than compute.ask_above "
        f"({bound_text(bound)})"
    )
    if runtime.agree(f"{facts[0].upper()}{facts[1:]}. Train it again?"):
        return
    accept = f"If the change does not affect the result: pedigree accept {item.stage} --why '…'. "
    raise PedigreeError(
        f"{item.stage} is not trained without a yes: {facts}. The earlier artifact is kept, and no later stage is "
        f"built. {accept if item.only_code else ''}To train it again: {_AGREE}"
    )


def require_open(planner: Planner, item: PlanItem, runtime: Runtime) -> None:
    """Raise ``PedigreeError`` when a gate of the stage of ``item`` is closed.

    An unfinished attempt may continue if the user agrees, so that its work is not lost.
    """
    closed = [gate for gate in item.gates if gate.state == "closed"]
    if not closed or item.verdict == "maybe":
        return
    if item.identity is None or not planner.store.has_begun(planner.graph[item.stage].kind, item.identity):
        raise PedigreeError(refusal(item.stage, item.gates))
    facts = f"{item.stage} has begun, and since then: " + "; ".join(line for gate in closed for line in gate.reasons())
    if not runtime.agree(f"{facts}. Continue it?"):
        raise PedigreeError(f"{facts}. It is not continued without a yes; its work is kept. To continue it: {_AGREE}")


def bound_text(bound: AskSpec) -> str:
    """The bound as text for people."""
    hours = [] if bound.hours is None else [duration(3600 * bound.hours)]
    return ", ".join([*hours, *([] if bound.dollars is None else [f"${bound.dollars:,.2f}"])])
