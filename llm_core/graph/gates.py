"""Gates: stages whose blocking checks must pass before another stage is built (``Stage.gates``).

A gate is not an input: it is not part of the later stage's identity, and an artifact that exists never needs its gate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llm_core.graph.checks import evaluate
from llm_core.graph.stage import Check, Stage
from llm_core.store.manifest import Artifact, CheckRecord, GateRecord, Overrule
from llm_core.store.store import Store


@dataclass(frozen=True)
class Gate:
    """A gate of a stage that is to be built.

    ``artifact``: None while it is not known: the gate itself must be built first, and then decides. ``checks``: its
    blocking checks, with the current bounds. ``overrule``: the recorded decision about this artifact.
    """

    stage: str
    artifact: Artifact | None = None
    checks: tuple[Check, ...] = ()
    overrule: Overrule | None = None

    @property
    def failed(self) -> list[Check]:
        """The failed blocking checks."""
        return [check for check in self.checks if not check.passed]

    @property
    def state(self) -> Literal["unknown", "open", "overruled", "closed"]:
        """Whether the stage may be built. An overrule covers only the checks that had failed when it was signed."""
        if self.artifact is None:
            return "unknown"
        known = {check.name for check in self.overrule.checks} if self.overrule else set()
        names = {check.name for check in self.failed}
        if not names:
            return "open"
        return "overruled" if names <= known else "closed"

    def reasons(self) -> list[str]:
        """Why it is closed."""
        return [f"gate {self.stage} is closed: check {check.name} failed: {check.message}" for check in self.failed]

    def notes(self) -> list[str]:
        """Its state for a plan, unless it is closed."""
        if self.overrule is None or self.state != "overruled":
            told = {"unknown": "not known yet; it is made first", "open": "open"}
            return [f"gate {self.stage}: {told[self.state]}"] if self.state in told else []
        signed = f"overruled by {self.overrule.who} on {self.overrule.when}: {self.overrule.why}"
        return [f"{reason} ({signed})" for reason in self.reasons()]


def gate(stage: Stage, artifact: Artifact | None, store: Store) -> Gate:
    """The gate ``stage`` with its artifact."""
    if artifact is None:
        return Gate(stage.name)
    checks = tuple(check for check in evaluate(stage, artifact) if check.blocking)
    return Gate(stage.name, artifact, checks, store.overruled(stage.kind, artifact.manifest.identity))


def refusal(name: str, gates: Sequence[Gate]) -> str:
    """The words for a stage ``name`` with a closed gate, with the command that overrules it."""
    closed = [gate for gate in gates if gate.state == "closed"]
    commands = " and ".join(f"pedigree overrule {gate.stage} --because '…'" for gate in closed)
    lines = "\n".join(reason for gate in closed for reason in gate.reasons())
    return f"{name} does not start:\n{lines}\nTo build it all the same, with your name and reason on record: {commands}"


def records(gates: Sequence[Gate], earlier: Sequence[GateRecord], launched: str) -> list[GateRecord]:
    """The ``gates`` of a manifest: ``earlier`` records of the same build, and the gates whose state is new since."""
    found = list(earlier)
    for gate in gates:
        now = _record(gate, launched)
        last = next((record for record in reversed(found) if record.stage == gate.stage), None)
        if last is None or _state(now) != _state(last):
            found.append(now)
    return found


def _state(record: GateRecord) -> tuple[object, ...]:
    return record.identity, record.passed, record.failed, record.overrule


def _record(gate: Gate, launched: str) -> GateRecord:
    assert gate.artifact is not None
    manifest, state = gate.artifact.manifest, gate.state
    return GateRecord(
        stage=gate.stage,
        identity=manifest.identity,
        content=manifest.content,
        made=manifest.started,
        results=manifest.stats,
        checks=[CheckRecord(**vars(check)) for check in gate.checks],
        launched=launched,
        passed="open" if state == "open" else "overruled" if state == "overruled" else "agreed",
        overrule=gate.overrule if state == "overruled" else None,
    )
