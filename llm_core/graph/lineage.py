"""The lineage of an artifact down to its sources, read from manifests."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.store import work
from llm_core.store.manifest import Artifact, GateRecord, read_manifest
from llm_core.store.store import Store

RUN, SHARDS = "training_run", "token_shards"

ORIGIN = "origin"
"""The role of the model of another experiment that was imported."""


@dataclass(frozen=True)
class Ancestor:
    """An artifact in the lineage of another. ``role``: its role as an input of the later one.

    ``gates``: with which it was launched, and their lineage as far as the store still has them.
    """

    role: str
    artifact: Artifact
    inputs: "list[Ancestor]"
    gates: "list[tuple[GateRecord, Ancestor | None]]" = field(default_factory=list)


@dataclass(frozen=True)
class TrainingRun:
    """A training run: its configuration, the shards that it reads, and the place of its metrics.

    ``unfinished``: it is training now, or was stopped. ``start``: the run that it continues.
    ``damaged_files``: path → problem, for damaged files of a finished run, which must not be read.
    """

    experiment: str
    stage: str
    identity: str
    config: dict[str, Any]
    shards: Path
    folder: Path
    start: str | None = None
    unfinished: bool = False
    damaged_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def first_step(self) -> int:
        """Its own first step. A branch continues the step count of the run from which it starts."""
        return int(self.config.get("from_step", 0)) + 1


def by_name(store: Store, experiment: str, name: str) -> Artifact:
    """The artifact for ``name``: a stage of the experiment (its last artifact), or the beginning of an identity."""
    last = store.last_identity(experiment, name)
    found = []
    for kind in store.kinds():
        for path in (store.root / "artifacts" / kind).iterdir():
            if path.name == last or (len(name) >= 4 and path.name.startswith(name)):
                manifest = read_manifest(path)
                if manifest is not None and manifest.identity == path.name:  # not a manual copy
                    found.append(Artifact(path, manifest))
    if len(found) != 1:
        many = f"{len(found)} artifacts" if found else "no artifact"
        raise PedigreeError(
            f"{name!r} means {many} here; give a stage of the experiment {experiment!r} that has been made, or more "
            "of an identity (`pedigree query 'FROM artifacts'` lists them)"
        )
    return found[0]


def ancestry(store: Store, artifact: Artifact, role: str = "") -> Ancestor:
    """The tree of inputs of ``artifact``. Raises ``PedigreeError`` when one is no longer in the store."""
    inputs = []
    for record in artifact.manifest.inputs:
        found = _ancestor(store, record.identity, record.role)
        if found is None:
            raise PedigreeError(f"{record.stage} {record.identity} is in the lineage, but no longer in the store")
        inputs.append(found)
    # A model that came from another experiment of this store: its own lineage, as far as the store still has it.
    origin = artifact.stats.get("origin") or {}
    if "identity" in origin and (found := _ancestor(store, origin["identity"], ORIGIN)):
        inputs.append(found)
    gates = [(record, _ancestor(store, record.identity, "gate")) for record in artifact.manifest.gates]
    return Ancestor(role, artifact, inputs, gates)


def _ancestor(store: Store, identity: str, role: str) -> Ancestor | None:
    kind = kind_of(store, identity)
    if kind is None:
        return None
    manifest = read_manifest(store.folder(kind, identity))
    assert manifest is not None
    return ancestry(store, Artifact(store.folder(kind, identity), manifest), role)


def training_run(store: Store, experiment: str, name: str) -> TrainingRun:
    """The training run for ``name``. Finds a live run in the work folders."""
    for run in _unfinished(store):
        if (run.experiment, run.stage) == (experiment, name) or run.identity.startswith(name):
            return run
    artifact = by_name(store, experiment, name)
    if artifact.manifest.kind != RUN:
        raise PedigreeError(f"{name} is not a training run but {artifact.manifest.kind}: it has no steps")
    return _finished(store, artifact)


def training_runs(store: Store) -> list[TrainingRun]:
    """All runs of all experiments in the store, sorted by experiment and stage, finished and unfinished."""
    finished = [_finished(store, artifact) for artifact in store.artifacts(RUN)]
    made = {run.identity for run in finished}
    runs = [*finished, *(run for run in _unfinished(store) if run.identity not in made)]
    return sorted(runs, key=lambda run: (run.experiment, run.stage, run.identity))


def _finished(store: Store, artifact: Artifact) -> TrainingRun:
    manifest = artifact.manifest
    inputs = {record.role: record.identity for record in manifest.inputs}
    return TrainingRun(
        manifest.experiment,
        manifest.stage,
        manifest.identity,
        manifest.config,
        store.folder(SHARDS, inputs["shards"]),
        artifact.path,
        inputs.get("start"),
        damaged_files=store.damaged_files(artifact),
    )


def _unfinished(store: Store) -> Iterator[TrainingRun]:
    for path in sorted((store.root / "work" / RUN).glob("*")):
        about = work.read(path)
        if about is not None:
            inputs = about["inputs"]
            shards = store.folder(SHARDS, inputs["shards"])
            place = (about["experiment"], about["stage"], about["identity"], about["config"], shards, path)
            yield TrainingRun(*place, inputs.get("start"), unfinished=True)


def kind_of(store: Store, identity: str) -> str | None:
    """The kind of the artifact with this identity. None when the store has no such artifact."""
    return next((kind for kind in store.kinds() if store.folder(kind, identity).is_dir()), None)
