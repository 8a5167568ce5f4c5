"""``checkpoint.json``: the file that makes a folder of parts a checkpoint, and says what it is of.

Until it is there, a mark for each rank (``rank_0003.begun``) says that the folder is ours.
"""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.reasons import explained
from llm_core.train.rank_files import write_whole

SEAL = "checkpoint.json"
FORMAT = 1
_MARK = re.compile(r"rank_\d{4,}\.begun")


class DamagedSealError(ValueError):
    """``checkpoint.json`` is not there, or not as it was written."""


def write_seal(folder: Path, content: dict[str, Any]) -> None:
    """Write ``checkpoint.json`` with a digest of what it says; the marks are not needed any more."""
    write_sealed(folder / SEAL, {"format": FORMAT, **content})
    for mark in _marks(folder):
        mark.unlink()


def read_seal(folder: Path) -> dict[str, Any]:
    """What ``checkpoint.json`` says: owner, progress, validation_loss and parts.

    ``DamagedSealError`` when it is not as it was written. ``PedigreeError`` when another version wrote it, and when the
    operating system does not let it be read.
    """
    content = read_sealed(folder / SEAL)
    if content.get("format") != FORMAT:
        raise PedigreeError(
            f"{folder}: the checkpoint is of format {content.get('format')}, and this version reads {FORMAT}: finish "
            "the run with the version that wrote it, or move the folder away"
        )
    return content


def write_mark(folder: Path, rank: int, step: int) -> None:
    """The first that a rank writes into the folder of a checkpoint of ``step``."""
    write_sealed(folder / f"rank_{rank:04d}.begun", {"format": FORMAT, "step": step})


def marked_step(folder: Path) -> int | None:
    """The step of which a checkpoint was begun here; None where no rank left a mark."""
    for mark in _marks(folder):
        try:
            step: int = read_sealed(mark)["step"]
        except (DamagedSealError, KeyError):
            continue
        return step
    return None


def _marks(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _MARK.fullmatch(path.name)]


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """JSON data with a digest of it, whole or not there."""
    text = json.dumps(content)
    write_whole(path, json.dumps({"content": text, "sha256": _digest(text)}).encode())


def read_sealed(path: Path) -> dict[str, Any]:
    """What ``write_sealed`` wrote; ``DamagedSealError`` and ``PedigreeError`` as above."""
    try:
        seal = json.loads(path.read_bytes())
        text = seal["content"]
        if seal["sha256"] != _digest(text):
            raise DamagedSealError(f"the content of {path.name} has changed")
        content: dict[str, Any] = json.loads(text)
    except FileNotFoundError:
        raise DamagedSealError(f"there is no {path.name}") from None
    except OSError as error:  # which says nothing of the file: it may be whole
        raise PedigreeError(f"{path}: can't be read: {explained(error)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedSealError(
            str(error) if isinstance(error, DamagedSealError) else f"{path.name}: {error!r}"
        ) from None
    return content


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
