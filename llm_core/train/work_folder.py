"""The owner of a work folder: ``work.json`` names the run, and lists the outputs of callbacks for the artifact.

In a folder without ``work.json``, files with a trainer's names are somebody else's: they are renamed, and not read.
"""

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
from llm_core.train.bundle_manifest import sha256_of
from llm_core.train.checkpoint_folder import CheckpointFolder, difference, set_aside
from llm_core.train.checksummed_json import DamagedFileError, read_checksummed, write_checksummed
from llm_core.train.spec import CHECKPOINTS, FAILURE, FINAL, SUMMARY, TrainerSpec, result_fields

WORK = "work.json"
WANDB, WANDB_RUN_ID = "wandb", "wandb_run_id"
_WRITTEN = (FINAL, SUMMARY, FAILURE, WANDB_RUN_ID)
"""The names that a trainer writes, in addition to outputs of callbacks."""


@runtime_only("refuses a folder of another run")
def claim(spec: TrainerSpec, log: Callable[[str], None]) -> None:
    """Make this run the owner of the work folder. The main rank calls it before it reads or writes anything there.

    ``PedigreeError`` when the folder belongs to another run, with the first field that differs.
    """
    owner = json.loads(json.dumps(result_fields(spec)))
    try:
        spec.work.mkdir(parents=True, exist_ok=True)
        known = _read(spec.work)
        if known is not None:
            other = difference(known["owner"], owner)
            if other is not None:
                raise PedigreeError(
                    f"{spec.work}: this folder belongs to another run: {other}; train in another folder, or move "
                    "this one away"
                )
            return
        # A copied folder without ``work.json`` is this run's if its checkpoints are.
        if not CheckpointFolder(spec.work / CHECKPOINTS, owner, log).entries().own:
            for name in [*_WRITTEN, *sorted({pattern.split("/")[0] for pattern in all_outputs()})]:
                if os.path.lexists(spec.work / name):
                    log(f"{spec.work / name}: not of this run; kept as {set_aside(spec.work / name)}")
        write_checksummed(spec.work / WORK, {"owner": owner, "outputs": {}})
    except OSError as error:
        raise PedigreeError(f"{error.filename or spec.work}: can't be used: {explained(error)}") from None


def move_foreign_aside(work: Path, file: Path) -> None:
    """Rename ``file``, which a callback is about to write, unless a callback of this run wrote it."""
    known = _read(work)
    if os.path.lexists(file) and (known is None or file.relative_to(work).as_posix() not in known["outputs"]):
        set_aside(file)


def record_output(work: Path, file: Path) -> None:
    """Record that a callback wrote ``file`` for the artifact; ``ValueError`` when no callback declares it."""
    _record(work, file.relative_to(work).as_posix(), sha256_of(file))


def record_growing_output(work: Path, file: Path) -> None:
    """Record a file that is still being written. It counts by its name, without a digest."""
    _record(work, file.relative_to(work).as_posix(), None)


def recorded_outputs(work: Path) -> list[Path]:
    """The files that callbacks wrote for the artifact, without those that were changed or removed since."""
    known = _read(work) or {"outputs": {}}
    files = ((work / name, digest) for name, digest in sorted(known["outputs"].items()))
    return [
        file for file, digest in files if file.is_file() and not file.is_symlink() and digest in (None, sha256_of(file))
    ]


@runtime_only("outputs of callbacks are volatile")
def _record(work: Path, name: str, digest: str | None) -> None:
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
