"""The folder of a run's checkpoints: which of its entries are the run's own. The others are neither read nor removed.

A checkpoint of the run has an exact name (``step_00000100``) and a seal that is as it was written, says the same step
and names this run. What is being written or removed has a name with a random part, and a mark or a seal inside. So a
copy under another name, the checkpoint of another run and a folder of the user's own stay as they are; one that stands
where a checkpoint must go is renamed.
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from llm_core.errors import PedigreeError
from llm_core.train.checkpoint_manifest import CHECKPOINT_MANIFEST, marked_step, read_manifest
from llm_core.train.checksummed_json import DamagedFileError
from llm_core.train.rank_files import damage
from llm_core.train.spec import checkpoint_name

_NAME = re.compile(r"step_(\d{8,})")
_PASSING = re.compile(r"step_(\d{8,})\.[0-9a-f]{8}\.(unfinished|old)")
_OUR_FILES = re.compile(
    r"rank_\d{4,}\.(safetensors(\.given_up)?|json|begun)|checkpoint\.json"
    r"|\.(rank_\d{4,}\.(json|begun)|checkpoint\.json)\.\d+\.tmp"  # a write that was killed
)
_LAST = ("begun", CHECKPOINT_MANIFEST)
"""Ends of the names of files by which a folder is known as ours: they are removed after all others."""


def random_part() -> str:
    """What makes the name of a passing folder one that nobody else has."""
    return uuid4().hex[:8]


@dataclass
class Entries:
    """What is in the folder: step → checkpoint of this run; what killed writers left; name → why it is not ours.

    ``others``: those among the latter that are whole checkpoints of another run, with the field that differs.
    """

    own: dict[int, Path] = field(default_factory=dict)
    leftovers: list[Path] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    others: dict[Path, str] = field(default_factory=dict)


class CheckpointFolder:
    """The folder ``path`` of the run that ``owner`` describes. ``PedigreeError`` where a seal can't be read."""

    def __init__(self, path: Path, owner: dict[str, Any], log: Callable[[str], None]) -> None:
        self.path, self._owner, self._log = path, owner, log

    def passing(self, step: int, part: str) -> Path:
        """Where the checkpoint of ``step`` lies while it is being written."""
        return self.path / f"{checkpoint_name(step)}.{part}.unfinished"

    def entries(self) -> Entries:
        """Everything that is there, but for hidden files."""
        found = Entries()
        for path in sorted(self.path.iterdir()) if self.path.is_dir() else []:
            if not path.name.startswith("."):
                self._sort(path, found)
        return found

    def _sort(self, path: Path, found: Entries) -> None:
        named, passing = _NAME.fullmatch(path.name), _PASSING.fullmatch(path.name)
        if path.is_symlink() or not path.is_dir():
            found.foreign[path.name] = "not a folder"
        elif passing and _is_leftover(path, int(passing[1])):
            found.leftovers.append(path)
        elif named is None:
            found.foreign[path.name] = "not the name of a checkpoint"
        else:
            try:
                seal = read_manifest(path)
            except DamagedFileError as error:
                found.foreign[path.name] = str(error)
                return
            step = seal["progress"]["step"]
            other = difference(seal["owner"], self._owner)
            if path.name != checkpoint_name(step):
                found.foreign[path.name] = f"a copy of the checkpoint of step {step}"
            elif other is not None:
                found.foreign[path.name] = f"a checkpoint of another run: {other}"
                found.others[path] = other
            else:
                found.own[step] = path

    def own_paths(self) -> list[Path]:
        """The files and folders that this run's writers made: its checkpoints, and what killed writers left."""
        found = self.entries()
        folders = [*found.own.values(), *found.leftovers]
        return [self.path, *folders, *(path for folder in folders for path in _own_files(folder))]

    def put(self, unfinished: Path, step: int) -> None:
        """Give a sealed folder its name, in the place of this run's checkpoint of that step if there is one."""
        final = self.path / checkpoint_name(step)
        if step in self.entries().own:
            self.remove(final)
        if os.path.lexists(final):
            self._log(f"{final}: not a checkpoint of this run; kept as {set_aside(final)}")
        unfinished.rename(final)

    def remove(self, checkpoint: Path) -> None:
        """Take it away in one step, so that a half-removed one never stands there as a checkpoint."""
        leftover = checkpoint.with_name(f"{checkpoint.name}.{random_part()}.old")
        checkpoint.rename(leftover)
        self.clear(leftover)

    def clear(self, leftover: Path) -> None:
        """Remove our files, and the folder; with anything else in it, it stays under a name for people."""
        for path in sorted(_own_files(leftover), key=lambda path: path.name.endswith(_LAST)):
            path.unlink()
        if any(leftover.iterdir()):
            kept = set_aside(leftover, leftover.name.split(".")[0])
            self._log(f"{kept}: holds files that are not of the checkpoint; they stay there")
        else:
            leftover.rmdir()


def _own_files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _OUR_FILES.fullmatch(path.name) and not path.is_dir()]


def difference(there: dict[str, Any], here: dict[str, Any]) -> str | None:
    """The first field in which another run differs from this one; None for the same run."""
    for name in sorted({**there, **here}):
        if there.get(name) != here.get(name):
            return f"{name} is {there.get(name)!r} there and {here.get(name)!r} here"
    return None


def copy_checkpoint(checkpoint: Path, target: Path) -> None:
    """Copy a checkpoint's seal and parts into ``target``, and nothing else that is there.

    ``PedigreeError`` where the copy is not whole.
    """
    try:
        parts = read_manifest(checkpoint)["parts"]
        target.mkdir(parents=True, exist_ok=True)
        for part in parts:
            index = json.loads((checkpoint / part["index"]).read_bytes())
            for name in (part["index"], index["file"]):
                shutil.copyfile(checkpoint / name, target / name)
        shutil.copyfile(checkpoint / CHECKPOINT_MANIFEST, target / CHECKPOINT_MANIFEST)
        wrong = next((text for part in parts if (text := damage(target, part["index"], part["sha256"]))), None)
    except (DamagedFileError, FileNotFoundError, ValueError) as error:
        wrong = str(error)
    if wrong is not None:
        raise PedigreeError(f"{checkpoint}: the checkpoint is damaged ({wrong}); move it away, and train again")


def _is_leftover(path: Path, step: int) -> bool:
    """Whether a killed writer of ours left it: it has a mark or a seal of that step, or no byte that could be lost."""
    if marked_step(path) == step:
        return True
    try:
        sealed: int = read_manifest(path)["progress"]["step"]
    except DamagedFileError:
        return all(_OUR_FILES.fullmatch(file.name) and not file.lstat().st_size for file in path.iterdir())
    return sealed == step


def set_aside(path: Path, name: str | None = None) -> Path:
    """Rename what is not ours out of the way: to ``NAME.aside``, or ``NAME.aside2`` and so on; returns where it is."""
    number = 1
    while os.path.lexists(target := path.with_name(f"{name or path.name}.aside{number if number > 1 else ''}")):
        number += 1
    try:
        return path.rename(target)
    except OSError as error:
        raise PedigreeError(
            f"{path}: it is in the way, and can't be renamed ({error.strerror}): move it away"
        ) from None
