"""Notes on the machine of a plan: what it does slowly or not at all in training, before any work."""

from collections.abc import Sequence
from dataclasses import replace

from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.base import told
from llm_core.experiment.runtime import ComputeSpec
from llm_core.experiment.tuning import TUNINGS
from llm_core.graph.plan import PlanItem
from llm_core.graph.stage import Stage
from llm_core.train.capabilities import TrainingRun, examine, rates_of
from llm_core.train.preflight import Preflight, preflight
from llm_core.train.this_machine import hardware_of, require_devices
from pipelines.session import Session


def on_device(session: Session, device: str | None, devices: int | None) -> Session:
    """``session``, planned for ``devices`` GPUs of the kind ``device`` instead of the experiment's machine."""
    if device is None and devices is None:
        return session
    compute = session.experiment.compute.model_dump()
    changes = {"devices": devices} if device is None else {"target": "local", "device": device, "devices": devices}
    try:
        changed = ComputeSpec.model_validate({**compute, **changes})
    except ValidationError as error:
        raise PedigreeError(told(error, "compute")) from None
    return replace(session, experiment=session.experiment.model_copy(update={"compute": changed}))


def examined(session: Session) -> Preflight:
    """The preflight of the experiment, with advice about its precision."""
    compute = session.experiment.compute
    try:
        rates = rates_of(hardware_of(compute), here=compute.planned_here)
    except PedigreeError as error:
        report = preflight(session.experiment)
        return replace(report, advice=(*report.advice, str(error)))
    return preflight(session.experiment, rates)


def notes(session: Session, items: Sequence[PlanItem]) -> list[str]:
    """Notes on the machine. Empty if no stage will be trained."""
    runs = _runs(session, items)
    if not runs:
        return []
    compute = session.experiment.compute
    findings = examine(runs, compute, here=False)
    lines = [*findings.errors, *findings.advice]
    for check in (lambda: preflight(session.experiment), lambda: require_devices(compute)):
        try:
            check()
        except PedigreeError as error:
            lines.append(str(error))
    return list(dict.fromkeys(lines))


def with_notes(session: Session, items: Sequence[PlanItem], lines: Sequence[str]) -> list[PlanItem]:
    """``items`` with the machine's notes at every stage that will be trained."""
    return [
        replace(item, notes=[*item.notes, *lines]) if _trains(session.graph[item.stage], item) else item
        for item in items
    ]


def before_run(session: Session, items: Sequence[PlanItem]) -> tuple[str, ...]:
    """Advice for the stages that will be trained. Raises ``PedigreeError`` if this machine can't train them."""
    runs = _runs(session, items)
    if not runs:
        return ()
    compute = session.experiment.compute
    try:
        require_devices(compute)
        findings = examine(runs, compute, here=compute.target.here)
        findings.check()
    except PedigreeError as error:
        raise PedigreeError(
            f"{error}\nStages without training can be made here, as with --select token_shards"
        ) from None
    return findings.advice


def _runs(session: Session, items: Sequence[PlanItem]) -> list[TrainingRun]:
    stages = [session.graph[item.stage] for item in items if _trains(session.graph[item.stage], item)]
    return [TrainingRun(_place(stage), stage.config["model"], stage.config["training"]) for stage in stages]


def _trains(stage: Stage, item: PlanItem) -> bool:
    return stage.trains and item.verdict in ("run", "maybe")


def _place(stage: Stage) -> str:
    """The prefix of the section ``training`` that describes the run in the experiment."""
    if stage.group == "study":
        return "study."
    section = stage.name.removesuffix("_model")
    return f"{section}." if section in ("long_context", *TUNINGS) else ""
