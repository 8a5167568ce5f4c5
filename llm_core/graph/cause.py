"""Whether a code change alone explains why artifacts differ: their own code, or code of earlier stages."""

from collections.abc import Mapping

from llm_core.errors import PedigreeError
from llm_core.graph.lineage import kind_of
from llm_core.graph.stage import Stage
from llm_core.store.manifest import Artifact, InputRecord, Manifest, read_manifest
from llm_core.store.store import Store


def only_code_changed(
    store: Store, stage: Stage, changed: list[str], inputs: Mapping[str, Artifact | None], previous: Manifest | None
) -> bool:
    """Whether all differences ``changed`` of a stage from ``previous`` come from code.

    False when the store no longer has the earlier artifact of an input, because the cause is then unknown.
    """
    if previous is None or not changed:
        return False
    before = {record.role: record for record in previous.inputs}
    others = {f"input {name} has other content": role for role, name in stage.inputs.items() if role in before}
    return all(
        line.startswith("code ") or (line in others and _by_code(store, before[others[line]], inputs[others[line]]))
        for line in changed
    )


def _by_code(store: Store, before: InputRecord, now: Artifact | None) -> bool:
    """Whether an input differs from its earlier artifact only because of code, its own or that of earlier stages."""
    earlier = _artifact(store, before.identity)
    if now is None or earlier is None:
        return False
    then, since = earlier.manifest, now.manifest
    if (then.config, then.source_digests) != (since.config, since.source_digests):
        return False
    above = {record.role: record for record in since.inputs}
    if {record.role for record in then.inputs} != above.keys():
        return False
    others = [record for record in then.inputs if above[record.role].content != record.content]
    return all(_by_code(store, record, _artifact(store, above[record.role].identity)) for record in others)


def _artifact(store: Store, identity: str) -> Artifact | None:
    kind = kind_of(store, identity)
    if kind is None:
        return None
    folder = store.folder(kind, identity)
    try:
        manifest = read_manifest(folder)
    except PedigreeError:  # damaged: its inputs are unknown
        return None
    return None if manifest is None else Artifact(folder, manifest)
