"""Accepting: the recorded decision that a code change did not change a result."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime

from llm_core.errors import PedigreeError
from llm_core.graph.frozen import identity_then
from llm_core.graph.plan import Planner
from llm_core.graph.provenance import user
from llm_core.store.decisions import Alias


def accept(planner: Planner, name: str, why: str) -> Alias:
    """Let the previous artifact of stage ``name`` serve its new identity, and record who decided this, when and why.

    Raises ``PedigreeError`` unless only the code changed, and the previous artifact is undamaged.
    """
    if not why.strip():
        raise PedigreeError("an acceptance needs its reason: --why '…'")
    stage = planner.graph[name]
    item = planner.look(name)[-1]
    if item.verdict == "hit":
        raise PedigreeError(f"{name} is a hit already; there is nothing to accept")
    if item.identity is None:
        raise PedigreeError(
            f"{name} can't be accepted yet: {'; '.join(item.reasons)}. Accept or make its inputs first."
        )
    previous = planner.previous(stage)
    if previous is None:
        raise PedigreeError(f"{name} was never built; there is no artifact to accept")
    if not item.only_code:
        others = [reason for reason in item.reasons if not reason.startswith("code ")]
        raise PedigreeError(f"{name} must be built again, because not only its code changed: {'; '.join(others)}")
    artifact, damage = planner.store.find(previous.kind, previous.identity)
    if artifact is None:
        raise PedigreeError(f"{name}: the previous artifact can't stand in: {damage or 'it is gone'}")
    alias = Alias(
        kind=stage.kind,
        identity=identity_then(planner.recipe(name), previous) if stage.frozen else item.identity,
        target=artifact.manifest.identity,
        code_digest=planner.recipe(name).code_digest,
        stage=name,
        who=user(),
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        why=why.strip(),
    )
    planner.store.accept(alias)
    return alias


def accept_several(planner: Planner, names: Collection[str] | None, why: str) -> Iterator[tuple[str, Alias | None]]:
    """Accept the stages ``names`` one by one, in the order of the graph. Accepting one makes the stages after it
    plannable, and may make them hits, which need no alias. ``names`` None: all stages for which only code has changed.

    Raises ``PedigreeError`` at the first stage that can't be accepted; the earlier ones stay accepted.
    """
    for stage in planner.graph:
        if names is None:
            if planner.look(stage.name)[-1].only_code:
                yield stage.name, accept(planner, stage.name, why)
        elif stage.name in names:
            hit = len(names) > 1 and planner.look(stage.name)[-1].verdict == "hit"
            yield stage.name, None if hit else accept(planner, stage.name, why)
