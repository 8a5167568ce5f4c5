"""Whose a work folder is: ``work.json``, sealed, says of which run, and what callbacks left there for the artifact.

Files of the names that a trainer writes, in a folder without it, are somebody else's: they are renamed, and not read.
"""

import hashlib
import json
import os
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.experiment.callbacks import all_outputs
from llm_core.reasons import explained
from llm_core.runtime_only import runtime_only
from llm_core.train.checkpoint_folder import CheckpointFolder, difference, set_aside
from llm_core.train.checksummed_json import DamagedFileError, read_checksummed, write_checksummed
from llm_core.train.spec import CHECKPOINTS, FAILURE, FINAL, SUMMARY, TrainerSpec, result_fields

WORK = "work.json"
WANDB, WANDB_RUN_ID = "wandb", "wandb_run_id"
_WRITTEN = (FINAL, SUMMARY, FAILURE, WANDB_RUN_ID)
"""What a trainer writes, beside what its callbacks leave."""


@runtime_only("refuses a folder of another run")
def claim(spec: TrainerSpec, log: Callable[[str], None]) -> None:
    """Make the work folder that of this run; on the main rank, before anything in it is read or written.

    ``PedigreeError`` where it is that of another run, with the field that differs.
    """
    owner = json.loads(json.dumps(result_fields(spec)))
    try:
        spec.work.mkdir(parents=True, exist_ok=True)
        known = _read(spec.work)
        if known is not None:
            other = difference(known["owner"], owner)
            if other is not None:
                raise PedigreeError(
                    f"{spec.work}: what is in this folder is of another run: {other}; train in another folder, or move "
                    "this one away"
                )
            return
        # A run of before there was this file: its checkpoints say that the rest is of it, too.
        if not CheckpointFolder(spec.work / CHECKPOINTS, owner, log).entries().own:
            for name in [*_WRITTEN, *sorted({pattern.split("/")[0] for pattern in all_outputs()})]:
                if os.path.lexists(spec.work / name):
                    log(f"{spec.work / name}: not of this run; kept as {set_aside(spec.work / name)}")
        write_checksummed(spec.work / WORK, {"owner": owner, "outputs": {}})
    except OSError as error:
        raise PedigreeError(f"{error.filename or spec.work}: can't be used: {explained(error)}") from None


def move_foreign_aside(work: Path, file: Path) -> None:
    """Rename a file that stands where a callback is about to write, unless a callback wrote it."""
    known = _read(work)
    if os.path.lexists(file) and (known is None or file.relative_to(work).as_posix() not in known["outputs"]):
        set_aside(file)


def record_output(work: Path, file: Path) -> None:
    """Note that a callback has written ``file``, for the artifact; ``ValueError`` where none declares it."""
    _note(work, file.relative_to(work).as_posix(), _digest(file))


def record_growing_output(work: Path, file: Path) -> None:
    """Note a file that another process of ours goes on writing: it counts by its name, which nobody else has."""
    _note(work, file.relative_to(work).as_posix(), None)


def recorded_outputs(work: Path) -> list[Path]:
    """The files that callbacks left for the artifact, as they wrote them; not what was changed since, or is gone."""
    known = _read(work) or {"outputs": {}}
    files = ((work / name, digest) for name, digest in sorted(known["outputs"].items()))
    return [
        file for file, digest in files if file.is_file() and not file.is_symlink() and digest in (None, _digest(file))
    ]


@runtime_only("what callbacks leave is volatile")
def _note(work: Path, name: str, digest: str | None) -> None:
    if not any(fnmatch(name, pattern) for pattern in all_outputs()):
        raise ValueError(f"no callback declares the file {name}: name it in 'outputs' of the specification")
    known = _read(work)
    if known is not None:
        write_checksummed(work / WORK, {**known, "outputs": {**known["outputs"], name: digest}})


def _read(work: Path) -> dict[str, Any] | None:
    try:
        return read_checksummed(work / WORK)
    except DamagedFileError:
        return None


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
