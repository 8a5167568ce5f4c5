"""Whether artifacts came out otherwise for nothing but code: their own, or that of what is above them."""

from collections.abc import Mapping

from llm_core.errors import PedigreeError
from llm_core.graph.stage import Stage
from llm_core.store.manifest import Artifact, InputRecord, Manifest, read_manifest
from llm_core.store.store import Store


def only_code_changed(
    store: Store, stage: Stage, changed: list[str], inputs: Mapping[str, Artifact | None], previous: Manifest | None
) -> bool:
    """Whether ``changed``, the differences of a stage from ``previous``, all come from code.

    Where the store no longer has what an input was before, nobody knows, and it counts as no.
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
    earlier = None if now is None else _manifest(store, now.manifest.kind, before.identity)
    if (
        now is None
        or earlier is None
        or (earlier.config, earlier.externals) != (now.manifest.config, now.manifest.externals)
    ):
        return False
    above = {record.role: record for record in now.manifest.inputs}
    if {record.role for record in earlier.inputs} != above.keys():
        return False
    others = [record for record in earlier.inputs if above[record.role].content != record.content]
    return all(_by_code(store, record, _anywhere(store, above[record.role].identity)) for record in others)


def _anywhere(store: Store, identity: str) -> Artifact | None:
    for kind in store.kinds():
        manifest = _manifest(store, kind, identity)
        if manifest is not None:
            return Artifact(store.folder(kind, identity), manifest)
    return None


def _manifest(store: Store, kind: str, identity: str) -> Manifest | None:
    try:
        return read_manifest(store.folder(kind, identity))
    except PedigreeError:
        return None
