"""Builds one stage's artifact, or finds it in the store."""

import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from llm_core.errors import PedigreeError
from llm_core.graph.checks import evaluate, evaluate_results
from llm_core.graph.compiling import telling
from llm_core.graph.consent import require_consent, require_open
from llm_core.graph.gates import records, refusal
from llm_core.graph.job import Job, Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.graph.provenance import device_name, git_state, library_versions
from llm_core.graph.results import Results
from llm_core.graph.stage import Check, Stage
from llm_core.registry import load_object
from llm_core.store.files import disk_errors
from llm_core.store.lease import Lease
from llm_core.store.manifest import Artifact, CheckRecord, FileRecord, GateRecord, InputRecord, Manifest
from llm_core.store.store import Store, content_digest
from llm_core.store.verify import foreign_file

PART_COUNTS = ("parts_found", "parts_made")
"""Statistics of every stage that works in parts: how many parts were found and built. Not part of the content."""


ADOPTED = "adopted"
"""Statistic of an artifact that was built remote: when it was imported, and from which folder. Not content."""


@dataclass(frozen=True)
class Circumstances:
    """When, how long, where and with what an artifact was built; fields as in ``Manifest``. Not part of the content."""

    started: str
    seconds: float
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    host: str


@dataclass(frozen=True)
class RemoteResult:
    """The result of a stage on another machine: ``materialize`` imports it instead of building the stage.

    ``take``: called like a build function, without the configuration; it checks the files and puts them into
    ``job.out``. ``circumstances``: called after it. ``folder``: the folder of the result. ``gates``: with which it was
    launched.
    """

    folder: Path
    take: Callable[[Job], Results]
    circumstances: Callable[[Any], Circumstances]
    gates: list[GateRecord] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a stage: its artifact, whether it was a hit, and its checks with the current bounds."""

    artifact: Artifact
    cache: Literal["hit", "made"]
    checks: list[Check]
    finding: str | None = None
    """A warning for the user: the rebuilt stage has a different result."""


def materialize(
    planner: Planner,
    name: str,
    runtime: Runtime,
    *,
    item: PlanItem | None = None,
    again: bool = False,
    remote: RemoteResult | None = None,
) -> Outcome:
    """Find or build the artifact of stage ``name``. Its inputs must be in the store, and their blocking checks must
    pass. If it is built, the same holds for its gates.

    ``item``: the result of ``item_to_build``, if the caller needed it before.
    With ``again``, builds it although it exists. The earlier artifact stays until the new one is complete, and then
    moves to quarantine. With ``remote``, imports a missing artifact from there instead of building it.

    Raises ``PedigreeError`` when an input is missing, outdated or blocked, when a gate is missing, outdated or closed,
    when the build rejects its input, and when the stage costs more than the user has agreed to.
    """
    stage = planner.graph[name]
    kind = stage.kind
    item = item or item_to_build(planner, name)
    assert item.identity is not None
    identity = item.identity
    if again and item.outlived:
        raise PedigreeError(
            f"{name} is frozen, and its inputs ({' and '.join(item.outlived)}) have changed since, so the same "
            "artifact can't be built again. Remove freeze to build one from the current inputs"
        )
    before, made = item.artifact, item.artifact if not again else None
    if made is None:
        with disk_errors(planner.store.root), planner.store.lease(kind, identity, runtime.log) as held:
            # Another process may have built it since the first look. The identity can't have changed: the planner has
            # the recipe and the inputs. So one question to the store is enough.
            item = planner.refreshed(item)
            made = item.artifact if not again else None
            if made is None:
                if again:
                    item = replace(item, gates=planner.gates(name))
                if remote is None:
                    require_gates(planner, item, runtime)
                    if not again:
                        require_consent(planner, item, runtime)
                before = item.artifact
                over = before is not None
                made = _make(planner, item, identity, runtime, held, over=over, remote=remote)
                item = replace(item, artifact=None, damaged_files={})
    planner.built(name, made)
    with disk_errors(planner.store.root):
        if item.artifact is not None:
            _quarantine_damaged(planner.store, item.artifact, item.damaged_files, runtime)
            planner.store.clear_work(kind, identity)
        planner.store.set_last_identity(planner.graph.experiment, name, made.manifest.identity)
    finding = None if before is None or before is made else _compared(name, before.manifest, made.manifest, runtime)
    return Outcome(made, "hit" if item.artifact else "made", evaluate(stage, made), finding)


def _quarantine_damaged(store: Store, artifact: Artifact, problems: Mapping[str, str], runtime: Runtime) -> None:
    for path in store.quarantine_files(artifact, problems):
        runtime.log(f"warning: {artifact.manifest.stage}: {problems[path]}; put aside, and continued without it")


def _compared(name: str, before: Manifest, now: Manifest, runtime: Runtime) -> str | None:
    """What differs between an artifact and its rebuild. None when they are equal."""
    if before.content == now.content:
        runtime.log(f"{name}: built again, and its content is the same")
        return None
    files = [
        {record.path: record.xxh3 for record in manifest.files if not record.volatile} for manifest in (before, now)
    ]
    differ = [path for path in sorted({**files[0], **files[1]}) if files[0].get(path) != files[1].get(path)]
    what = f"it differs in {', '.join(differ[:5])}" + (f" and {len(differ) - 5} more files" if differ[5:] else "")
    why = (
        "the code that was accepted has changed the result"
        if before.identity != now.identity
        else "its result depends on something outside its identity (a thread, a clock, a library, a device)"
    )
    return (
        f"{name}: built again, and its content has changed ({before.content[:12]} → {now.content[:12]}; "
        f"{what if differ else 'it differs in its statistics'}): {why}. Later stages are built again, too; the store "
        "keeps the earlier artifact"
    )


def look_up(stage: Stage) -> None:
    """Ask the network for the facts that the stage's ``source_digests`` needs, unless they are known."""
    if stage.look_up:
        load_object(stage.look_up)(**stage.config)


def item_to_build(planner: Planner, name: str, *, built_elsewhere: bool = False) -> PlanItem:
    """The plan's item of a stage that can be built now. Raises ``PedigreeError`` when it can't.

    With ``built_elsewhere``, closed gates do not count: the run was launched before.
    """
    for stage in planner.unknown(name):
        look_up(stage)
    *above, item = planner.look(name)
    if item.verdict == "blocked" and not (built_elsewhere and item.gates):
        if any(gate.state == "closed" for gate in item.gates):
            raise PedigreeError(refusal(name, item.gates))
        raise PedigreeError(f"{name} does not start, because a blocking check fails:\n" + "\n".join(item.reasons))
    if item.identity is None:
        inputs = planner.graph.upstream(name)
        missing = [
            f"{other.stage}: {'; '.join(other.reasons)}"
            for other in above
            if other.verdict != "hit" and other.stage in inputs
        ]
        raise _missing(planner, name, "inputs", missing)
    return item


def _missing(planner: Planner, name: str, what: str, missing: list[str]) -> PedigreeError:
    return PedigreeError(
        f"{name} needs {what} that are missing from the store or outdated. Select them too "
        f"(`pedigree run` does so by itself; in Dagster: --select '+key:\"{planner.graph.experiment}/{name}\"'):\n"
        + "\n".join(missing)
    )


def require_gates(planner: Planner, item: PlanItem, runtime: Runtime) -> None:
    """Raise ``PedigreeError`` unless all gates of the stage are known, and they are open, overruled or agreed to."""
    unknown = [gate.stage for gate in item.gates if gate.state == "unknown"]
    if unknown:
        reasons = [f"{name}: {'; '.join(planner.look(name)[-1].reasons)}" for name in unknown]
        raise _missing(planner, item.stage, "gates", reasons)
    require_open(planner, item, runtime)


def _make(
    planner: Planner,
    item: PlanItem,
    identity: str,
    runtime: Runtime,
    held: Lease,
    *,
    over: bool,
    remote: RemoteResult | None,
) -> Artifact:
    """Build and commit the artifact of ``item``. ``over``: it exists already."""
    store, stage = planner.store, planner.graph[item.stage]
    by_role: dict[str, Artifact] = {}
    damaged_files: dict[str, dict[str, str]] = {}
    for role, name in stage.inputs.items():
        artifact = planner.artifact(name)
        damage, missed = store.verifier.damage(artifact, full=True), store.damaged_files(artifact, full=True)
        if missed and planner.graph[name].rebuild_when_damaged:
            damage = damage or next(iter(missed.values()))
        if damage:
            raise PedigreeError(f"{stage.name}: its input {name} is damaged: {damage}. Run again: it is then rebuilt.")
        stranger = foreign_file(artifact)
        if stranger is not None:
            raise PedigreeError(
                f"{stage.name}: {stranger} is not a file of its input {name}, but would be read with it; move it away"
            )
        _quarantine_damaged(store, artifact, missed, runtime)
        by_role[role], damaged_files[role] = artifact, missed
    started = datetime.now(UTC)
    gates = remote.gates if remote else _launched(planner, item, identity, started, over=over)
    about = _about(planner, stage, by_role, gates)
    work = (store.start_over if over else store.work)(stage.kind, identity, about)
    out = work / "out"
    shutil.rmtree(out)
    out.mkdir()
    clock = time.monotonic()
    if stage.compute:
        runtime = replace(runtime, compute=runtime.compute.changed(stage.compute))
    claim = planner.claim(stage.name)
    claim.check(stage.name)
    job = Job(
        stage.name,
        identity,
        by_role,
        work,
        out,
        runtime,
        parts=None if over else store.parts(stage.kind),  # a rebuild starts from the beginning
        claim=claim,
        part_claim=planner.part_claim,
        damaged_files=damaged_files,
        gates=gates,
    )
    build = load_object(stage.build)
    with disk_errors(work), telling(runtime.status):
        results: Results = remote.take(job) if remote else build(job, **stage.config)
    stats = {
        **results.model_dump(mode="json"),
        **{f"parts_{name}": count for name, count in job.part_counts.items()},
    }
    if (
        stage.source_digests
        and load_object(stage.source_digests)(**stage.config) != planner.recipe(stage.name).source_digests
    ):
        raise PedigreeError(f"{stage.name}: its sources changed while they were read; nothing was committed; run again")
    # A trainer checks its own code. Its long run must not fail because of an edit that it never imported.
    claim.check(stage.name, on_disk=not stage.trains)
    made = remote.circumstances(results) if remote else _here(started, time.monotonic() - clock)
    if remote:
        stats[ADOPTED] = {"when": started.isoformat(timespec="seconds"), "folder": str(remote.folder)}
    recipe = planner.recipe(stage.name)

    def manifest(files: list[FileRecord]) -> Manifest:
        return Manifest(
            kind=stage.kind,
            stage=stage.name,
            experiment=planner.graph.experiment,
            identity=identity,
            content=content_digest(files, stats, (*results.volatile(), *PART_COUNTS, ADOPTED)),
            code_digest=recipe.code_digest,
            code=recipe.code,
            config=recipe.config,
            source_digests=recipe.source_digests,
            inputs=[
                InputRecord(
                    role=role,
                    stage=stage.inputs[role],
                    identity=artifact.manifest.identity,
                    content=artifact.manifest.content,
                )
                for role, artifact in sorted(by_role.items())
            ],
            files=files,
            checks=[CheckRecord(**vars(check)) for check in evaluate_results(stage, results)],
            stats=stats,
            **vars(made),
            device=str(stats.get("device") or device_name()),
            gates=gates,
        )

    artifact = store.commit(work, held, stage.volatile, manifest)
    if work.exists():
        runtime.log(f"{work}: contains files that were not made here; they stay")
    return artifact


def _here(started: datetime, seconds: float) -> Circumstances:
    commit, dirty = git_state()
    when = started.isoformat(timespec="seconds")
    return Circumstances(when, round(seconds, 3), library_versions(), commit, dirty, platform.node())


def _launched(planner: Planner, item: PlanItem, identity: str, started: datetime, *, over: bool) -> list[GateRecord]:
    """The gates with which the build of ``item`` began, in this attempt and in the earlier ones."""
    store, kind = planner.store, planner.graph[item.stage].kind
    about = store.about(kind, identity) if not over or store.is_rebuilding(kind, identity) else None
    earlier = [GateRecord.model_validate(record) for record in (about or {}).get("gates", [])]
    return records(item.gates, earlier, started.isoformat(timespec="seconds"))


def _about(planner: Planner, stage: Stage, inputs: dict[str, Artifact], gates: list[GateRecord]) -> dict[str, Any]:
    """The facts in the work folder's note, for people, lineage, the live views and later attempts."""
    return {
        "stage": stage.name,
        "experiment": planner.graph.experiment,
        "config": planner.recipe(stage.name).config,
        "inputs": {role: artifact.manifest.identity for role, artifact in inputs.items()},
        **({"gates": [gate.model_dump(mode="json") for gate in gates]} if gates else {}),
    }
