"""Makes one stage's artifact, or finds it made."""

import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from llm_core.errors import PedigreeError
from llm_core.graph.gate import evaluate
from llm_core.graph.job import Job, Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.graph.provenance import device_name, git_state, library_versions
from llm_core.graph.stage import Check, Stage
from llm_core.registry import load_object
from llm_core.store.files import disk_errors, write_atomically
from llm_core.store.lease import Lease
from llm_core.store.manifest import Artifact, CheckRecord, FileRecord, InputRecord, Manifest
from llm_core.store.store import content_digest

RUNTIME_ONLY = True

PART_COUNTS = ("parts_found", "parts_made")
"""Statistics of every stage that works part by part: how much of the work was there already. No part of the content."""


ADOPTED = "adopted"
"""The statistic of an artifact that was made elsewhere: when it was taken in, and from which folder. No content."""


@dataclass(frozen=True)
class Circumstances:
    """When, how long, where and with what an artifact was made; fields as in ``Manifest``. No part of the content."""

    started: str
    seconds: float
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    host: str


@dataclass(frozen=True)
class Elsewhere:
    """What another machine made of a stage, for ``materialize`` to take in where it would else build.

    ``take``: called as a build function is, but for the configuration; it checks, and puts files into ``job.out``.
    ``circumstances`` is called after it. ``folder``: where it lies.
    """

    folder: Path
    take: Callable[[Job], dict[str, Any]]
    circumstances: Callable[[dict[str, Any]], Circumstances]


@dataclass(frozen=True)
class Outcome:
    """What came of a stage: its artifact, whether it was there already, and its checks by the bounds of now."""

    artifact: Artifact
    cache: Literal["hit", "made"]
    checks: list[Check]


def materialize(planner: Planner, name: str, runtime: Runtime, elsewhere: Elsewhere | None = None) -> Outcome:
    """Find or make the artifact of stage ``name``; its inputs must be in the store, and their gates open.

    With ``elsewhere``, what is not found is not made but taken from there.

    Raises ``PedigreeError`` when an input is missing, outdated or blocked, or when the build finds its input wanting.
    """
    stage = planner.graph[name]
    kind = stage.kind
    item = ready(planner, name)
    assert item.identity is not None
    identity = item.identity
    if item.artifact is None:
        with disk_errors(planner.store.root), planner.store.lease(kind, identity, runtime.log) as held:
            item = ready(planner, name)  # while we waited, another process may have made it
            made = item.artifact or _make(planner, stage, identity, runtime, held, elsewhere)
    else:
        made = item.artifact
    cache: Literal["hit", "made"] = "hit" if item.artifact else "made"
    with disk_errors(planner.store.root):
        if cache == "hit":
            planner.store.clear_work(kind, identity)
        planner.store.set_head(planner.graph.experiment, name, made.manifest.identity)
    return Outcome(made, cache, evaluate(stage, made.stats))


def ready(planner: Planner, name: str) -> PlanItem:
    """The plan's item for a stage that can be made now; ``PedigreeError`` for another."""
    *above, item = planner.plan({name})
    if item.verdict == "blocked":
        raise PedigreeError(f"{name} does not start, because a gate is closed:\n" + "\n".join(item.reasons))
    if item.identity is None:
        missing = [f"{other.stage}: {'; '.join(other.reasons)}" for other in above if other.verdict != "hit"]
        raise PedigreeError(
            f"{name} needs inputs that are not in the store as they would be made now. Select them too "
            f"(`pedigree run` does by itself; in Dagster: --select '+key:\"{planner.graph.experiment}/{name}\"'):\n"
            + "\n".join(missing)
        )
    return item


def _make(
    planner: Planner, stage: Stage, identity: str, runtime: Runtime, held: Lease, elsewhere: Elsewhere | None
) -> Artifact:
    store = planner.store
    inputs = {item.stage: item.artifact for item in planner.plan(set(stage.inputs.values()))} if stage.inputs else {}
    by_role: dict[str, Artifact] = {}
    for role, name in stage.inputs.items():
        artifact = inputs[name]
        assert artifact is not None
        damage = store.verifier.damage(artifact, full=True)
        if damage:
            raise PedigreeError(f"{stage.name}: its input {name} is damaged: {damage}. Run again: it is made anew.")
        by_role[role] = artifact
    work = store.work(stage.kind, identity)
    out = work / "out"
    if elsewhere or not stage.resumable:
        shutil.rmtree(out)
        out.mkdir()
    _describe_work(planner, stage, identity, work, by_role)
    started = datetime.now(UTC)
    clock = time.monotonic()
    job = Job(stage.name, identity, by_role, work, out, runtime, parts=store.parts(stage.kind), code=planner.part_code)
    with disk_errors(work):
        stats: dict[str, Any] = elsewhere.take(job) if elsewhere else load_object(stage.build)(job, **stage.config)
    stats = {**json.loads(json.dumps(stats)), **{f"parts_{name}": count for name, count in job.part_counts.items()}}
    if stage.externals and load_object(stage.externals)(**stage.config) != planner.recipe(stage.name).externals:
        raise PedigreeError(f"{stage.name}: its sources changed while they were read; nothing was committed; run again")
    made = elsewhere.circumstances(stats) if elsewhere else _here(started, time.monotonic() - clock)
    if elsewhere:
        stats[ADOPTED] = {"when": started.isoformat(timespec="seconds"), "folder": str(elsewhere.folder)}
    recipe = planner.recipe(stage.name)

    def manifest(files: list[FileRecord]) -> Manifest:
        return Manifest(
            kind=stage.kind,
            stage=stage.name,
            experiment=planner.graph.experiment,
            identity=identity,
            content=content_digest(files, stats, (*stage.volatile_stats, *PART_COUNTS, ADOPTED)),
            code_digest=recipe.code_digest,
            code=recipe.code,
            config=recipe.config,
            externals=recipe.externals,
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
            checks=[CheckRecord(**vars(check), blocking=check.name in stage.gates) for check in evaluate(stage, stats)],
            stats=stats,
            **vars(made),
            device=str(stats.get("device") or device_name()),
        )

    return store.commit(work, held, stage.volatile, manifest)


def _here(started: datetime, seconds: float) -> Circumstances:
    commit, dirty = git_state()
    when = started.isoformat(timespec="seconds")
    return Circumstances(when, round(seconds, 3), library_versions(), commit, dirty, platform.node())


def _describe_work(planner: Planner, stage: Stage, identity: str, work: Path, inputs: dict[str, Artifact]) -> None:
    """Leave word in the work folder of what is being made there, for people, lineage and the live views."""
    about = {
        "kind": stage.kind,
        "stage": stage.name,
        "experiment": planner.graph.experiment,
        "identity": identity,
        "config": planner.recipe(stage.name).config,
        "inputs": {role: artifact.manifest.identity for role, artifact in inputs.items()},
    }
    write_atomically(work / "stage.json", json.dumps(about).encode())
