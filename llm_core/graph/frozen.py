"""Frozen stages: they keep their artifact although its inputs have changed since.

``Stage.frozen`` says which artifact. True: the last one of this experiment in this store, while settings and code stay
the same. An identity: that artifact. Identity and lineage do not change: they name the inputs that were really used.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from llm_core.errors import PedigreeError
from llm_core.experiment.base import without_outsiders
from llm_core.graph.changes import changed_fields, changed_names
from llm_core.graph.identity import Recipe
from llm_core.graph.stage import Stage
from llm_core.store.manifest import Artifact, Manifest
from llm_core.store.store import Store


@dataclass(frozen=True)
class Kept:
    """A kept artifact, and the identity by which it is found (a different one when changed code was accepted)."""

    identity: str
    artifact: Artifact

    def others(self, contents: Mapping[str, str]) -> list[str]:
        """The input stages whose content has changed since, as far as ``contents`` (by role) shows."""
        records = self.artifact.manifest.inputs
        return [record.stage for record in records if contents.get(record.role, record.content) != record.content]

    def note(self) -> str:
        """A note for the plan."""
        manifest = self.artifact.manifest
        origins = " and ".join(f"{record.stage} {record.identity[:12]}" for record in manifest.inputs)
        return f"frozen: trained on {origins} ({manifest.started[:10]}), even if they change"


def identity_then(own: Recipe, manifest: Manifest) -> str:
    """The identity with the current settings and code, and the inputs of ``manifest``."""
    return own.identity({record.role: record.content for record in manifest.inputs})


def find_kept(
    store: Store, experiment: str, stage: Stage, own: Recipe, contents: Mapping[str, str]
) -> tuple[Kept | None, str | None]:
    """(the kept artifact, None); (None, the problem) when it is damaged; (None, None) when there is none yet.

    Raises ``PedigreeError`` for an identity that is not in the store or was built with other settings, and for a
    damaged artifact that can't be rebuilt from the same inputs.
    """
    if isinstance(stage.frozen, str):
        return _named(store, stage, stage.frozen, own, contents), None
    last, problem = store.last(experiment, stage.kind, stage.name)
    identity = store.last_identity(experiment, stage.name)
    artifact = None
    if last is not None:
        if {record.role for record in last.manifest.inputs} != stage.inputs.keys():
            return None, None
        identity = identity_then(own, last.manifest)
        artifact, problem = store.find(stage.kind, identity)
    if problem and not _would_be_made(identity, stage, own, contents):
        raise PedigreeError(
            f"{stage.name} is frozen, and its artifact is damaged: {problem}. Its inputs have changed or are missing, "
            "so the same artifact can't be built again. Restore its files from an undamaged copy, or remove freeze to "
            "build another one"
        )
    return Kept(identity, artifact) if identity and artifact else None, problem


def _would_be_made(identity: str | None, stage: Stage, own: Recipe, contents: Mapping[str, str]) -> bool:
    """Whether all inputs exist and give this identity."""
    return contents.keys() == stage.inputs.keys() and own.identity(contents) == identity


def _named(store: Store, stage: Stage, identity: str, own: Recipe, contents: Mapping[str, str]) -> Kept | None:
    artifact, problem = store.find(stage.kind, identity)
    if artifact is None:
        if problem is None and _would_be_made(identity, stage, own, contents):
            return None  # a build would give this identity now
        raise PedigreeError(
            f"{stage.name}: freeze names {identity}, but {problem or f'{store.root} has no such artifact'}; copy "
            f"{store.folder(stage.kind, identity).relative_to(store.root)} from the store that has it, or write "
            "freeze: true to keep the artifact that is built here"
        )
    manifest = artifact.manifest
    then = without_outsiders(manifest.config, stage.config)
    if (then, manifest.source_digests) != (own.config, own.source_digests):
        others = [
            *changed_fields("", then, own.config),
            *changed_names("source", manifest.source_digests, own.source_digests),
        ]
        raise PedigreeError(
            f"{stage.name}: freeze names {identity}, which was made with other settings (then → now): "
            f"{'; '.join(others)}. Use these settings in the experiment, or remove freeze to build another one"
        )
    return Kept(identity, artifact)
