"""Plans which stages would run, and why, without running anything.

Verdicts: ``hit``, the artifact exists and is undamaged; ``run``, it will be built; ``maybe``, an input will be rebuilt,
and the store has an artifact that fits if the rebuilt input is equal (early cut-off); ``blocked``, a blocking check of
an input or of a gate fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from llm_core.errors import UnknownYetError
from llm_core.graph.cause import only_code_changed
from llm_core.graph.changes import differences, lasting_config
from llm_core.graph.checks import failed_blocking
from llm_core.graph.code_claim import CodeClaim
from llm_core.graph.code_digest import CodeReader
from llm_core.graph.frozen import Kept, find_kept
from llm_core.graph.gates import Gate, gate
from llm_core.graph.graph import Graph
from llm_core.graph.identity import Recipe, code, part_claim, recipe, stage_claim
from llm_core.graph.job import artifact_files
from llm_core.graph.part import InputFile, PartTask
from llm_core.graph.stage import Stage
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only
from llm_core.store.manifest import Artifact, Manifest
from llm_core.store.parts import PartStore
from llm_core.store.store import Store

Verdict = Literal["hit", "run", "maybe", "blocked"]


@dataclass(frozen=True)
class PlanItem:
    """One stage of a plan.

    ``identity``: None while it depends on an input that must be built first. ``seconds``: wall time of the last build.
    ``notes``: facts that are no reason to run (an accepted alias, changed library versions). ``files``: the files that
    the artifact has or will have, as far as they are known. ``parts``: for a missing artifact of a stage that works in
    parts, how many parts are found and how many must be built. ``previous``: the last artifact of this stage.
    ``only_code``: only the stage's code has changed since then. ``from_code``: only its code, or the code of earlier
    stages. ``damaged_files``: path → problem, for damaged volatile files of a hit. ``outlived``: the inputs of a frozen
    hit whose content has changed. ``gates``: those of a stage that is to be built. ``only_before_gate``: it is in the
    plan only because a stage that is to be built has a gate.
    """

    stage: str
    verdict: Verdict
    reasons: list[str]
    identity: str | None = None
    artifact: Artifact | None = None
    seconds: float | None = None
    notes: list[str] = field(default_factory=list)
    files: list[InputFile] = field(default_factory=list)
    parts: tuple[int, int] | None = None
    previous: Manifest | None = None
    only_code: bool = False
    from_code: bool = False
    damaged_files: dict[str, str] = field(default_factory=dict)
    outlived: list[str] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    only_before_gate: bool = False


@runtime_only("says what is to be made, and by which code")
class Planner:
    """Plans one graph over one store.

    Reads each recipe once, so that a plan is a consistent snapshot. Remembers the artifacts that it has found: a
    committed artifact does not change, and a build verifies its inputs in full.
    """

    def __init__(self, graph: Graph, store: Store, reader: CodeReader, versions: Mapping[str, str]) -> None:
        self.graph = graph
        self.store = store
        self._reader = reader
        self._versions = versions
        self._recipes: dict[str, Recipe] = {}
        self._hits: dict[str, PlanItem] = {}

    def recipe(self, name: str) -> Recipe:
        """The recipe of a stage."""
        if name not in self._recipes:
            self._recipes[name] = recipe(self.graph[name], self._reader)
        return self._recipes[name]

    def code(self, name: str) -> dict[str, str]:
        """The code of a stage, without reading its sources."""
        return code(self.graph[name], self._reader)

    def plan(self, only: set[str] | None = None) -> list[PlanItem]:
        """An item for every stage in order. With ``only``, for these stages and all stages before them, and for the
        gates, with all stages before those, of each stage that is to be built.

        Looks at every stage as it is now.
        """
        wanted = {stage.name for stage in self.graph}
        if only is not None:
            wanted = only.union(*(self.graph.upstream(name) for name in only))
        self._hits.clear()
        items: dict[str, PlanItem] = {}
        for stage in self.graph:
            if stage.name in wanted:
                self._place(stage, items, with_files=True)
        return [item if item.stage in wanted else replace(item, only_before_gate=True) for item in items.values()]

    def needed(self, only: set[str]) -> set[str]:
        """The stages that a run of ``only`` needs as of now: see ``plan``."""
        found: set[str] = set()
        pending = list(only)
        while pending:
            stage = self.graph[pending.pop()]
            if stage.name not in found:
                found.add(stage.name)
                pending.extend(stage.inputs.values())
                if stage.gates and self.look(stage.name)[-1].verdict != "hit":
                    pending.extend(stage.gates)
        return found

    def unknown(self, name: str) -> list[Stage]:
        """The stages before ``name`` whose artifacts this planner has not found yet, and ``name`` itself, in order."""
        before = [above for above in self.graph.upstream(name) if above not in self._hits]
        return [self.graph[stage] for stage in (*before, name)]

    def look(self, name: str) -> list[PlanItem]:
        """The items of ``unknown(name)`` as of now, and of their gates, without their parts; the last one is the item
        of ``name``."""
        known = {other: item for other, item in self._hits.items() if other != name}
        items = dict(known)
        for stage in self.unknown(name):
            self._place(stage, items)
        return [item for other, item in items.items() if other not in known]

    def gates(self, name: str) -> list[Gate]:
        """The gates of a stage as of now."""
        return self._gates(self.graph[name], dict(self._hits))

    def refreshed(self, item: PlanItem) -> PlanItem:
        """``item``, with the artifact that the store has now for its identity. Plans nothing."""
        assert item.identity is not None
        artifact, damaged_files, _ = self._find(self.graph[item.stage], item.identity)
        return replace(item, artifact=artifact, damaged_files=damaged_files)

    def artifact(self, name: str) -> Artifact:
        """The artifact of a stage, which this planner has found or which ``built`` reported."""
        artifact = self._hits[name].artifact
        assert artifact is not None
        return artifact

    def built(self, name: str, artifact: Artifact) -> None:
        """Remember the artifact of a stage that has been built since it was planned."""
        self._hits[name] = PlanItem(name, "hit", [], artifact.manifest.identity, artifact)

    def claim(self, name: str) -> CodeClaim:
        """The claim of the code that builds a stage."""
        return stage_claim(self.graph[name], self._reader)

    def part_claim(self, task: PartTask) -> CodeClaim:
        """The claim of the code that builds a part."""
        return part_claim(task, self._reader)

    def _place(self, stage: Stage, items: dict[str, PlanItem], with_files: bool = False) -> None:
        """Add the item of ``stage`` to ``items``. If it is to be built, first add those of its gates."""
        if stage.name in items:
            return
        item = self._item(stage, items)
        if stage.gates and item.verdict in ("run", "maybe"):
            item = self._gated(stage, item, self._gates(stage, items, with_files), items)
        if item.artifact is not None:
            item = replace(item, files=artifact_files(item.artifact)) if with_files else item
            self._hits[stage.name] = item
        elif with_files and stage.parts and item.verdict in ("run", "maybe"):
            item = self._with_parts(stage, item, items)
        items[stage.name] = item

    def _gates(self, stage: Stage, items: dict[str, PlanItem], with_files: bool = False) -> list[Gate]:
        """The gates of ``stage``. Adds their items, and those of all stages before them, to ``items``."""
        for name in stage.gates:
            for above in (*self.graph.upstream(name), name):
                self._place(self.graph[above], items, with_files)
        return [gate(self.graph[name], items[name].artifact, self.store) for name in stage.gates]

    def _gated(self, stage: Stage, item: PlanItem, gates: list[Gate], items: Mapping[str, PlanItem]) -> PlanItem:
        """``item`` of a stage that is to be built, with its gates. A closed gate blocks it, unless it has begun."""
        item = replace(item, gates=gates)
        blocked = [f"its gate {name} is blocked" for name in stage.gates if items[name].verdict == "blocked"]
        closed = [reason for gate in gates if gate.state == "closed" for reason in gate.reasons()]
        notes = [note for gate in gates if gate.state != "closed" for note in gate.notes()]
        if item.verdict == "maybe":
            return replace(item, notes=[*item.notes, *notes, *closed, *blocked])
        begun = item.identity is not None and self.store.has_begun(stage.kind, item.identity)
        if closed and begun and not blocked:
            waits = "waits for a yes (--yes): it has begun, and its gate has closed since"
            return replace(item, notes=[*item.notes, *notes, waits, *closed])
        verdict: Verdict = "blocked" if closed or blocked else item.verdict
        return replace(item, verdict=verdict, reasons=[*blocked, *closed, *item.reasons], notes=[*item.notes, *notes])

    def _with_parts(self, stage: Stage, item: PlanItem, items: dict[str, PlanItem]) -> PlanItem:
        """``item`` with its known parts. For an input that must be built first, the files that it is sure to have."""
        assert stage.parts is not None
        inputs = {role: items[name].files for role, name in stage.inputs.items()}
        store = PartStore(self.store.parts(stage.kind))
        found, missing = 0, 0
        files: list[InputFile] = []
        # Without a recipe, the content of the sources is not known yet.
        tasks = load_object(stage.parts)(inputs, **stage.config) if stage.name in self._recipes else []
        for task in tasks:
            key = task.key(self.part_claim(task).digest)
            records = store.known(key)
            if records is None:
                missing += 1
            else:
                found += 1
                files += [InputFile(record.path, store.folder(key) / record.path, record.xxh3) for record in records]
        waiting = [name for name in dict.fromkeys(stage.inputs.values()) if items[name].artifact is None]
        more = f", and those of what {' and '.join(waiting)} will make" if waiting else ""
        counted = [f"parts: {found} found, {missing} to make{more}"] if found or missing else []
        notes = [*item.notes, *counted]
        return replace(item, notes=notes, files=sorted(files, key=lambda file: file.name), parts=(found, missing))

    def _item(self, stage: Stage, items: dict[str, PlanItem]) -> PlanItem:
        failures = self._failed_checks(stage, items)
        if failures:
            return PlanItem(stage.name, "blocked", failures)
        inputs = {role: items[name].artifact for role, name in stage.inputs.items()}
        contents = {role: artifact.manifest.content for role, artifact in inputs.items() if artifact}
        try:
            own = self.recipe(stage.name)
        except UnknownYetError as unknown:
            previous = self.previous(stage)
            seconds = previous.seconds if previous else None
            return PlanItem(stage.name, "maybe" if previous else "run", [str(unknown)], seconds=seconds)
        kept, lost = self._kept(stage, own, contents)
        if kept:
            return self._kept_item(stage, kept, contents)
        twin = self._twin(stage, items)
        if twin:
            notes = [f"the same run as {twin}"]
            return PlanItem(stage.name, "hit", [], items[twin].identity, notes=notes)
        previous = self.previous(stage)
        seconds = previous.seconds if previous else None
        if len(contents) == len(inputs):
            identity = own.identity(contents)
            artifact, damaged_files, damage = self._find(stage, identity)
            if artifact:
                notes = [*self._notes(stage, identity, artifact), *map(_note_of_damage, damaged_files.values())]
                took = artifact.manifest.seconds
                return PlanItem(stage.name, "hit", [], identity, artifact, took, notes, damaged_files=damaged_files)
            damage = damage or lost
            known = {} if stage.frozen else contents  # changed inputs alone do not rebuild a frozen stage
            changed = [damage] if damage else self._differences(stage, own, known, previous)
            reasons = changed or ["the artifact is no longer in the store"]
            only_code = bool(changed) and all(line.startswith("code ") for line in changed)
            from_code = not damage and only_code_changed(self.store, stage, changed, inputs, previous)
            return PlanItem(
                stage.name,
                "run",
                reasons,
                identity,
                seconds=seconds,
                previous=previous,
                only_code=only_code,
                from_code=from_code,
            )
        waiting = ", ".join(stage.inputs[role] for role in inputs if role not in contents)
        if self._could_hit(stage, own, contents):
            reasons = [f"made only if an input changes: {waiting}"]
            return PlanItem(stage.name, "maybe", reasons, seconds=seconds, previous=previous)
        reasons = self._differences(stage, own, contents, previous)
        if previous is not None:
            reasons.append(f"inputs that are made first: {waiting}")
        return PlanItem(stage.name, "run", reasons, seconds=seconds, previous=previous)

    def _find(self, stage: Stage, identity: str) -> tuple[Artifact | None, dict[str, str], str | None]:
        """(the usable artifact, its damaged volatile files, why there is none although it was built)."""
        artifact, damage = self.store.find(stage.kind, identity)
        damaged_files = self.store.damaged_files(artifact) if artifact else {}
        if damaged_files and stage.rebuild_when_damaged:
            return None, {}, next(iter(damaged_files.values()))
        return artifact, damaged_files, damage

    def _kept(self, stage: Stage, own: Recipe, contents: Mapping[str, str]) -> tuple[Kept | None, str | None]:
        return find_kept(self.store, self.graph.experiment, stage, own, contents) if stage.frozen else (None, None)

    def _kept_item(self, stage: Stage, kept: Kept, contents: Mapping[str, str]) -> PlanItem:
        artifact = kept.artifact
        damaged_files = self.store.damaged_files(artifact)
        notes = [
            kept.note(),
            *self._notes(stage, kept.identity, artifact),
            *map(_note_of_damage, damaged_files.values()),
        ]
        return PlanItem(
            stage.name,
            "hit",
            [],
            kept.identity,
            artifact,
            artifact.manifest.seconds,
            notes,
            damaged_files=damaged_files,
            outlived=kept.others(contents),
        )

    def _twin(self, stage: Stage, items: dict[str, PlanItem]) -> str | None:
        """An earlier stage of the plan that will build the same artifact under another name."""
        for name, item in items.items():
            other = self.graph[name]
            if (
                item.verdict in ("run", "maybe")
                and (other.kind, dict(other.inputs)) == (stage.kind, dict(stage.inputs))
                and self.recipe(name) == self.recipe(stage.name)
            ):
                return name
        return None

    def _failed_checks(self, stage: Stage, items: dict[str, PlanItem]) -> list[str]:
        reasons = []
        for name in dict.fromkeys(stage.inputs.values()):
            item = items[name]
            if item.verdict == "blocked":
                reasons.append(f"its input {name} is blocked")
            elif item.artifact:
                checks = failed_blocking(self.graph[name], item.artifact)
                reasons.extend(f"{name}: check {check.name} failed: {check.message}" for check in checks)
        return reasons

    def previous(self, stage: Stage) -> Manifest | None:
        """The last manifest of this stage in this experiment; without one, the newest that the experiment built of it.

        None for a stage that only other experiments have built, because their settings are not an earlier state.
        """
        last, mine = self.store.last_identity(self.graph.experiment, stage.name), (self.graph.experiment, stage.name)
        newest = None
        for artifact in self.store.artifacts(stage.kind):
            if artifact.manifest.identity == last:
                return artifact.manifest
            if newest is None and (artifact.manifest.experiment, artifact.manifest.stage) == mine:
                newest = artifact.manifest
        return newest

    def _differences(
        self, stage: Stage, own: Recipe, contents: Mapping[str, str], previous: Manifest | None
    ) -> list[str]:
        if previous is None and not self.store.knows(self.graph.experiment):
            return [f"never made before: the experiment {self.graph.experiment} is new"]
        return differences(stage, own, contents, previous)

    def _could_hit(self, stage: Stage, own: Recipe, contents: Mapping[str, str]) -> bool:
        """Whether an artifact or alias fits the known components of the identity."""

        def fits(code_digest: str, manifest: Manifest) -> bool:
            return (
                (code_digest, lasting_config(stage, manifest)) == (own.code_digest, own.config)
                and manifest.source_digests == own.source_digests
                and {record.role for record in manifest.inputs} == stage.inputs.keys()
                and all(contents.get(record.role, record.content) == record.content for record in manifest.inputs)
            )

        manifests = {artifact.manifest.identity: artifact.manifest for artifact in self.store.artifacts(stage.kind)}
        standins = [(alias.code_digest, manifests.get(alias.target)) for alias in self.store.aliases(stage.kind)]
        known = [(manifest.code_digest, manifest) for manifest in manifests.values()]
        return any(manifest is not None and fits(code, manifest) for code, manifest in [*known, *standins])

    def _notes(self, stage: Stage, identity: str, artifact: Artifact) -> list[str]:
        notes = []
        alias = self.store.alias(stage.kind, identity)
        if alias:
            notes.append(f"accepted by {alias.who} on {alias.when}: {alias.why}")
        for name, version in artifact.manifest.versions.items():
            now = self._versions.get(name)
            if now is not None and now != version:
                notes.append(f"made with {name} {version}; here is {now}")
        if self.store.is_rebuilding(stage.kind, identity):
            notes.append(f"an unfinished rebuild exists: pedigree run --force {stage.name} continues it")
        notes.extend(str(record) for record in artifact.manifest.gates if record.passed != "open")
        return notes


def _note_of_damage(problem: str) -> str:
    return f"{problem}; the artifact is used without it"
