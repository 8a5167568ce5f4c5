"""``checkpoint.json``, the manifest of a checkpoint: its run, its progress, and the digests of its parts.

A folder is a checkpoint once it contains this file. Before that, one marker per rank (``rank_0003.begun``) shows that
the trainer created the folder.
"""

import re
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.train.checksummed_json import DamagedFileError, read_checksummed, write_checksummed

CHECKPOINT_MANIFEST = "checkpoint.json"
FORMAT = 1
_MARKER = re.compile(r"rank_\d{4,}\.begun")


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Write ``checkpoint.json``, and remove the markers."""
    write_checksummed(folder / CHECKPOINT_MANIFEST, {"format": FORMAT, **content})
    for marker in _markers(folder):
        marker.unlink()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of ``checkpoint.json``: owner, progress, validation_loss and parts.

    Raises ``DamagedFileError`` when it is missing, damaged or edited, and ``PedigreeError`` when another version wrote
    it or when it can't be read.
    """
    content = read_checksummed(folder / CHECKPOINT_MANIFEST)
    if content.get("format") != FORMAT:
        raise PedigreeError(
            f"{folder}: the checkpoint is of format {content.get('format')}, and this version reads {FORMAT}: finish "
            "the run with the version that wrote it, or move the folder away"
        )
    return content


def write_marker(folder: Path, rank: int, step: int) -> None:
    """Write the marker of ``rank``, its first file in the folder of the checkpoint of ``step``."""
    write_checksummed(folder / f"rank_{rank:04d}.begun", {"format": FORMAT, "step": step})


def marked_step(folder: Path) -> int | None:
    """The step in the markers of ``folder``; None when there is no whole marker."""
    for marker in _markers(folder):
        try:
            step: int = read_checksummed(marker)["step"]
        except (DamagedFileError, KeyError):
            continue
        return step
    return None


def _markers(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _MARKER.fullmatch(path.name)]
