"""The folder of a run's checkpoints. The trainer reads and removes only entries that the run wrote itself.

A checkpoint of the run has an exact name (``step_00000100``) and an undamaged manifest with the same step and this
run. A folder that is being written or removed has a name with a random part, and contains a marker or a manifest. So
copies under other names, checkpoints of other runs and the user's own folders are not touched. One that has the name
of a new checkpoint is renamed.
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
_TEMPORARY = re.compile(r"step_(\d{8,})\.[0-9a-f]{8}\.(unfinished|old)")
_OUR_FILES = re.compile(
    r"rank_\d{4,}\.(safetensors(\.given_up)?|json|begun)|checkpoint\.json"
    r"|\.(rank_\d{4,}\.(json|begun)|checkpoint\.json)\.\d+\.tmp"  # a write that was killed
)
_LAST = ("begun", CHECKPOINT_MANIFEST)
"""Endings of the files that identify a folder as the trainer's: they are removed last."""


def random_part() -> str:
    """Makes the name of a temporary folder unique."""
    return uuid4().hex[:8]


@dataclass
class Entries:
    """The entries of the folder. ``own``: step → checkpoint of this run. ``leftovers``: of killed writers.

    ``foreign``: name → why the entry is not the run's. ``others``: those of them that are checkpoints of another run,
    with the first field that differs.
    """

    own: dict[int, Path] = field(default_factory=dict)
    leftovers: list[Path] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    others: dict[Path, str] = field(default_factory=dict)


class CheckpointFolder:
    """The checkpoint folder of the run ``owner``. Methods raise ``PedigreeError`` when a manifest can't be read."""

    def __init__(self, path: Path, owner: dict[str, Any], log: Callable[[str], None]) -> None:
        self.path, self._owner, self._log = path, owner, log

    def unfinished(self, step: int, part: str) -> Path:
        """The folder of the checkpoint of ``step`` while it is being written."""
        return self.path / f"{checkpoint_name(step)}.{part}.unfinished"

    def entries(self) -> Entries:
        """All entries except hidden files."""
        found = Entries()
        for path in sorted(self.path.iterdir()) if self.path.is_dir() else []:
            if not path.name.startswith("."):
                self._sort(path, found)
        return found

    def _sort(self, path: Path, found: Entries) -> None:
        named, temporary = _NAME.fullmatch(path.name), _TEMPORARY.fullmatch(path.name)
        if path.is_symlink() or not path.is_dir():
            found.foreign[path.name] = "not a folder"
        elif temporary and _is_leftover(path, int(temporary[1])):
            found.leftovers.append(path)
        elif named is None:
            found.foreign[path.name] = "not the name of a checkpoint"
        else:
            try:
                manifest = read_manifest(path)
            except DamagedFileError as error:
                found.foreign[path.name] = str(error)
                return
            step = manifest["progress"]["step"]
            other = difference(manifest["owner"], self._owner)
            if path.name != checkpoint_name(step):
                found.foreign[path.name] = f"a copy of the checkpoint of step {step}"
            elif other is not None:
                found.foreign[path.name] = f"a checkpoint of another run: {other}"
                found.others[path] = other
            else:
                found.own[step] = path

    def own_paths(self) -> list[Path]:
        """The files and folders that this run wrote: its checkpoints, and the leftovers of killed writers."""
        found = self.entries()
        folders = [*found.own.values(), *found.leftovers]
        return [self.path, *folders, *(path for folder in folders for path in _own_files(folder))]

    def put(self, unfinished: Path, step: int) -> None:
        """Rename a complete folder to its final name. It replaces this run's checkpoint of the same step."""
        final = self.path / checkpoint_name(step)
        if step in self.entries().own:
            self.remove(final)
        if os.path.lexists(final):
            self._log(f"{final}: not a checkpoint of this run; kept as {set_aside(final)}")
        unfinished.rename(final)

    def remove(self, checkpoint: Path) -> None:
        """Remove a checkpoint. It is renamed first, so a partly removed one is never taken for a checkpoint."""
        leftover = checkpoint.with_name(f"{checkpoint.name}.{random_part()}.old")
        checkpoint.rename(leftover)
        self.clear(leftover)

    def clear(self, leftover: Path) -> None:
        """Remove the trainer's files, and the folder. A folder with other files is kept under another name."""
        for path in sorted(_own_files(leftover), key=lambda path: path.name.endswith(_LAST)):
            path.unlink()
        if any(leftover.iterdir()):
            kept = set_aside(leftover, leftover.name.split(".")[0])
            self._log(f"{kept}: contains files that are not of the checkpoint; they are kept")
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
    """Copy a checkpoint's manifest and parts, and no other files, into ``target``.

    ``PedigreeError`` when the checkpoint or the copy is damaged.
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
    """Whether a killed trainer wrote it: it has a marker or manifest of ``step``, or only a trainer's empty files."""
    if marked_step(path) == step:
        return True
    try:
        complete: int = read_manifest(path)["progress"]["step"]
    except DamagedFileError:
        return all(_OUR_FILES.fullmatch(file.name) and not file.lstat().st_size for file in path.iterdir())
    return complete == step


def set_aside(path: Path, name: str | None = None) -> Path:
    """Rename a file or folder to ``NAME.aside``, ``NAME.aside2`` and so on; returns its new path."""
    number = 1
    while os.path.lexists(target := path.with_name(f"{name or path.name}.aside{number if number > 1 else ''}")):
        number += 1
    try:
        return path.rename(target)
    except OSError as error:
        raise PedigreeError(f"{path}: is in the way, and can't be renamed ({error.strerror}): move it away") from None
