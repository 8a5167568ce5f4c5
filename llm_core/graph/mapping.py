"""Makes the parts of a stage: finds those that are made, and has the others made by workers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.graph.code_digest import CodeReader
from llm_core.graph.identity import part_code
from llm_core.graph.part import PartCode, PartTask, PartWork
from llm_core.store.digests import stamp
from llm_core.store.home import PROJECT
from llm_core.store.parts import Part, PartStore

RUNTIME_ONLY = True


@dataclass(frozen=True)
class KeyedTask:
    """A task with its key, the code that the key counts, and the folder of its part store: all that a worker needs."""

    task: PartTask
    key: str
    code: PartCode
    root: Path


def find_parts(
    tasks: Sequence[PartTask], code: Callable[[PartTask], PartCode], root: Path
) -> tuple[list[Part | None], list[KeyedTask]]:
    """(the part of every task in order, or None; the tasks whose parts are yet to be made)."""
    names = [task.name for task in tasks]
    if len(set(names)) != len(names):
        raise ValueError(f"two parts share a name: {next(name for name in names if names.count(name) > 1)}")
    store = PartStore(root)
    store.clear()
    coded = [(task, code(task)) for task in tasks]
    keyed = [KeyedTask(task, task.key(own.digest), own, root) for task, own in coded]
    found = [store.find(item.task.name, item.key) for item in keyed]
    return found, [item for item, part in zip(keyed, found, strict=True) if part is None]


def make_part(item: KeyedTask) -> Part:
    """Run the task's function and commit what it wrote; another process may have been first, with the same result."""
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
        _check_code(item)
        return store.commit(task.name, item.key, scratch, stats)
    except BaseException:
        store.discard(scratch)
        raise


_KNOWN_CODE: dict[tuple[str, str, tuple[tuple[int, ...] | None, ...]], bool] = {}


def _check_code(item: KeyedTask) -> None:
    """Raise where this process may run other code than the key says: a worker imports it later than the plan reads it,
    and another machine may have another version.
    """
    now = tuple(_stamp(path) for path, _ in item.code.files)
    if now == tuple(known for _, known in item.code.files):
        return
    question = (item.task.target, item.code.digest, now)
    if question not in _KNOWN_CODE:
        found = part_code(item.task, CodeReader(PROJECT, item.code.packages))
        _KNOWN_CODE[question] = found.digest == item.code.digest
    if not _KNOWN_CODE[question]:
        raise PedigreeError(
            f"{item.task.name}: the code behind this part is not what it was when the run began (or, on another "
            "machine, another version); nothing of it was kept; run again"
        )


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        return tuple(stamp(Path(path)))
    except OSError:
        return None


def make_parts(
    pending: Sequence[KeyedTask], run: Callable[[Sequence[KeyedTask]], Iterator[Part]], progress: Callable[[int], None]
) -> dict[str, Part]:
    """All pending parts by name, made by ``run`` in any order; ``progress`` hears how many are done."""
    made: dict[str, Part] = {}
    for part in run(pending):
        made[part.name] = part
        progress(len(made))
    return made
