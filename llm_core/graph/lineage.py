"""What an artifact was made from, down to the sources: a walk over manifests."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.store.manifest import Artifact, read_manifest
from llm_core.store.store import Store

RUNTIME_ONLY = True


@dataclass(frozen=True)
class Ancestor:
    """An artifact in the lineage of another; ``role`` is what it was to the one above it."""

    role: str
    artifact: Artifact
    inputs: "list[Ancestor]"


@dataclass(frozen=True)
class TrainingRun:
    """A training run, finished or live: its configuration, the shards that it reads, and where its metrics are.

    ``left_out``: path → what is wrong, of the files of a finished one that nobody may read.
    """

    stage: str
    identity: str
    config: dict[str, Any]
    shards: Path
    folder: Path
    left_out: Mapping[str, str] = field(default_factory=dict)


def by_name(store: Store, experiment: str, name: str) -> Artifact:
    """The artifact that ``name`` means: a stage of the experiment (its last one), or the start of an identity."""
    head = store.head(experiment, name)
    found = []
    for kind in store.kinds():
        for path in (store.root / "artifacts" / kind).iterdir():
            if path.name == head or (len(name) >= 4 and path.name.startswith(name)):
                manifest = read_manifest(path)
                if manifest is not None:
                    found.append(Artifact(path, manifest))
    if len(found) != 1:
        many = f"{len(found)} artifacts" if found else "no artifact"
        raise PedigreeError(
            f"{name!r} means {many} here; give a stage of the experiment {experiment!r} that has been made, or more "
            "of an identity (`pedigree query 'FROM artifacts'` lists them)"
        )
    return found[0]


def ancestry(store: Store, artifact: Artifact, role: str = "") -> Ancestor:
    """The tree of artifacts below ``artifact``; ``PedigreeError`` where one is gone."""
    inputs = []
    for record in artifact.manifest.inputs:
        kind = _kind_of(store, record.identity)
        if kind is None:
            raise PedigreeError(f"{record.stage} {record.identity} is in the lineage, but no longer in the store")
        manifest = read_manifest(store.folder(kind, record.identity))
        assert manifest is not None
        inputs.append(ancestry(store, Artifact(store.folder(kind, record.identity), manifest), record.role))
    return Ancestor(role, artifact, inputs)


def training_run(store: Store, experiment: str, name: str) -> TrainingRun:
    """The training run that ``name`` means; a live one is found in the work folders."""
    for path in sorted((store.root / "work" / "training_run").glob("*/stage.json")):
        try:
            about = json.loads(path.read_bytes())
        except ValueError:
            continue  # written by a process that was killed in doing so; its run has no steps yet
        if (about["experiment"], about["stage"]) == (experiment, name) or path.parent.name.startswith(name):
            live = store.folder("token_shards", about["inputs"]["shards"])
            return TrainingRun(about["stage"], about["identity"], about["config"], live, path.parent)
    artifact = by_name(store, experiment, name)
    if artifact.manifest.kind != "training_run":
        raise PedigreeError(f"{name} is no training run, but {artifact.manifest.kind}: it has no steps")
    manifest = artifact.manifest
    shards = next(record.identity for record in manifest.inputs if record.role == "shards")
    read = store.folder("token_shards", shards)
    left_out = store.left_out(artifact)
    return TrainingRun(manifest.stage, manifest.identity, manifest.config, read, artifact.path, left_out)


def _kind_of(store: Store, identity: str) -> str | None:
    return next((kind for kind in store.kinds() if store.folder(kind, identity).is_dir()), None)
