"""Builds the parts of a stage: finds existing parts, and lets workers build the others."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.graph.code_claim import CodeClaim
from llm_core.graph.part import PartTask, PartWork
from llm_core.plugins import load_plugins
from llm_core.store.digests import stamp
from llm_core.store.parts import Part, PartStore, recorded


@dataclass(frozen=True)
class KeyedTask:
    """A task with its key, the code claim in the key, and the folder of its part store: all that a worker needs."""

    task: PartTask
    key: str
    claim: CodeClaim
    root: Path


def find_parts(
    tasks: Sequence[PartTask], claim: Callable[[PartTask], CodeClaim], root: Path
) -> tuple[list[Part | None], list[KeyedTask]]:
    """(the part of every task in order, or None; the tasks whose parts must be built)."""
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise ValueError(f"two parts share a name: {next(name for name in names if names.count(name) > 1)}")
    store = PartStore(root)
    store.clear()
    claimed = [(task, claim(task)) for task in tasks]
    keyed = [KeyedTask(task, task.key(own.digest), own, root) for task, own in claimed]
    found = [store.find(item.task.name, item.key) for item in keyed]
    return found, [item for item, part in zip(keyed, found, strict=True) if part is None]


def make_part(item: KeyedTask) -> Part:
    """Run the task's function and commit its files. If another process was first, its equal part is used."""
    load_plugins(item.claim.plugins)
    store = PartStore(item.root)
    made = store.find(item.task.name, item.key)
    if made is not None:
        return made
    scratch = store.scratch(item.key)
    task = item.task
    work = PartWork(task.name, {role: file.path for role, file in task.inputs.items()}, task.settings, scratch)
    try:
        stats = task.function(work, **task.config)
        for file in task.inputs.values():
            if file.stamp is not None and tuple(stamp(file.path.resolve())) != file.stamp:
                raise PedigreeError(f"{file.path}: changed while it was read; nothing of it was kept; run again")
        item.claim.check(item.task.name, on_disk=True)
        if task.key(item.claim.digest) != item.key:  # properties of a specification differ here
            raise PedigreeError(f"{task.name}: this process derives other settings from the same fields; run again")
        files, stats = recorded(scratch, stats)
        return store.commit(task.name, item.key, scratch, files, stats)
    except BaseException:
        store.discard(scratch)
        raise


def make_parts(
    pending: Sequence[KeyedTask], run: Callable[[Sequence[KeyedTask]], Iterator[Part]], progress: Callable[[int], None]
) -> dict[str, Part]:
    """All pending parts by name, built by ``run`` in any order. ``progress`` gets the number of finished parts."""
    made: dict[str, Part] = {}
    for part in run(pending):
        made[part.name] = part
        progress(len(made))
    return made
