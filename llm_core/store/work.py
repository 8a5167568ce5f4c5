"""Work folders: ``work/<kind>/<identity>/`` contains the files of an unfinished attempt.

``stage.json`` is written first, and says which stage is being built. A folder without it, or with the one of another
identity (a manual copy), is not ours: it is neither read nor removed. In our folders, we know our files by name; all
other files are the user's, and stay. A stage that needs other files uses ``scratch/``, or lists them in ``own.json``.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.store.files import write_atomically

ABOUT = "stage.json"
AGAIN = "again"
"""This file marks that the artifact exists and is being rebuilt."""

_OURS = re.compile(
    r"""
    again | out | parts | scratch | leaks | verdicts | repeats                                      # removed as a whole
    | (documents | questions | scores | suite_.+ | metrics | bad_batches | samples)\.jsonl
    | (spec | progress | summary | work | run | own | compared-\d+)\.json | progress\.json\.new | wandb_run_id
    | failure\.txt | (trainer | lm_eval)\.log | trainer\.\d+\.lock | \..+\.\d+\.tmp
    """,
    re.VERBOSE,
)
_OURS_INSIDE = {
    "final": re.compile(r"model\.(safetensors|json)|validation_windows\.jsonl"),
    "profile": re.compile(r"steps_\d+_to_\d+\.json"),
    "wandb": re.compile(
        r"(offline-)?run-\d{8}_\d{6}-\w+ | latest-run | debug.*\.log | settings | artifacts | logs", re.VERBOSE
    ),
}
"""Folders in which users may keep copies → the names in them that are ours."""

OWN = "own.json"
"""A list of more files and folders of ours, as paths in the work folder. A stage that can distinguish its own files
from copies writes it at its end. A folder is removed only when nothing else is in it."""


def begin(folder: Path, about: dict[str, Any]) -> None:
    """Mark the work folder as ours. ``about``: kind, stage, identity and more, as ``read`` returns it.

    Raises ``PedigreeError`` when somebody else's files have names that the work needs.
    """
    if read(folder) is None:
        taken = next((path for path in _ours(folder) if not (path.is_dir() and not any(path.iterdir()))), None)
        if taken is not None:
            raise PedigreeError(
                f"{folder}: {ABOUT} is missing or incomplete, so Pedigree did not make this folder, or it is damaged; "
                f"move {taken} away, and run again"
            )
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / ABOUT, json.dumps(about).encode())
    (folder / "out").mkdir(exist_ok=True)


def read(folder: Path) -> dict[str, Any] | None:
    """What is being built there. None when the folder is not ours."""
    try:
        about = json.loads((folder / ABOUT).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(about, dict) or not folder.as_posix().endswith(f"/{about.get('kind')}/{about.get('identity')}"):
        return None
    return about


def clear(folder: Path) -> None:
    """Remove our files from a work folder of ours, and the folder when nothing else is in it."""
    if read(folder) is None:
        return
    listed = _listed(folder)
    folders = {folder / name for name in _OURS_INSIDE}
    folders |= {path for path in listed if path.is_dir()} | {parent for path in listed for parent in path.parents}
    for path in {*listed, *_ours(folder)} - folders:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for path in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        if folder in path.parents:
            with suppress(OSError):  # missing, or it contains files of the user
                path.rmdir()
    (folder / ABOUT).unlink()  # last: after a kill half-way, the folder is still ours
    with suppress(OSError):
        folder.rmdir()


def _listed(folder: Path) -> list[Path]:
    """The paths that ``OWN`` lists, without any outside the folder."""
    try:
        names = json.loads((folder / OWN).read_bytes())
        paths = [folder / name for name in names]
    except (OSError, ValueError, TypeError):
        return []
    return [path for path in paths if path.exists() and path.resolve().is_relative_to(folder.resolve())]


def _ours(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        inside = _OURS_INSIDE.get(path.name)
        if _OURS.fullmatch(path.name):
            yield path
        elif inside is not None and path.is_dir() and not path.is_symlink():
            yield from (inner for inner in sorted(path.iterdir()) if inside.fullmatch(inner.name))
