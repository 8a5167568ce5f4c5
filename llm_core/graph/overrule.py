"""Overruling: the recorded decision that a stage is built although its gate is closed."""

from datetime import UTC, datetime

from llm_core.errors import PedigreeError
from llm_core.graph.gates import gate
from llm_core.graph.plan import Planner
from llm_core.graph.provenance import user
from llm_core.store.manifest import CheckRecord, Overrule


def overrule(planner: Planner, name: str, why: str, who: str | None = None) -> Overrule:
    """Let stages be built behind the closed gate ``name``, and record who decided this, when and why.

    It holds for the gate's current artifact, and for the checks that fail now. ``who``: by default the user of git.
    Raises ``PedigreeError`` when ``name`` is not a gate, when its artifact is missing or outdated, and when it is not
    closed.
    """
    if not why.strip():
        raise PedigreeError("an overrule needs its reason: --because '…'")
    if who is not None and not who.strip():
        raise PedigreeError("an overrule needs a name: --by NAME")
    if not planner.graph.is_gate(name):
        known = ", ".join(stage.name for stage in planner.graph if planner.graph.is_gate(stage.name)) or "none"
        raise PedigreeError(f"{name} is not a gate of {planner.graph.experiment}; gates: {known}")
    item = planner.look(name)[-1]
    found = gate(planner.graph[name], item.artifact, planner.store)
    if item.artifact is None:
        raise PedigreeError(
            f"{name} must be made before it can be overruled ({'; '.join(item.reasons)}): "
            f"pedigree run {planner.graph.experiment} --select {name}"
        )
    if found.state != "closed":
        told = "; ".join(found.notes())
        raise PedigreeError(f"there is nothing to overrule: {told}")
    decision = Overrule(
        kind=item.artifact.manifest.kind,
        identity=item.artifact.manifest.identity,
        stage=name,
        checks=[CheckRecord(**vars(check)) for check in found.failed],
        who=(who or user()).strip(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        why=why.strip(),
    )
    planner.store.overrule(decision)
    return decision
