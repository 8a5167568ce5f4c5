"""``checkpoint.json``: the file that makes a folder of parts a checkpoint, and says what it is of."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.train.parts import write_whole

SEAL = "checkpoint.json"
FORMAT = 1


class DamagedSealError(ValueError):
    """``checkpoint.json`` is not as it was written."""


def write_seal(folder: Path, content: dict[str, Any]) -> None:
    """Write ``checkpoint.json`` with a digest of what it says."""
    text = json.dumps({"format": FORMAT, **content})
    write_whole(folder / SEAL, json.dumps({"content": text, "sha256": _digest(text)}).encode())


def read_seal(folder: Path) -> dict[str, Any]:
    """What ``checkpoint.json`` says: owner, progress, validation_loss and parts.

    ``DamagedSealError`` when it is not as it was written, ``PedigreeError`` when another version wrote it.
    """
    try:
        seal = json.loads((folder / SEAL).read_bytes())
        text = seal["content"]
        if seal["sha256"] != _digest(text):
            raise DamagedSealError(f"the content of {SEAL} has changed")
        content: dict[str, Any] = json.loads(text)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedSealError(str(error) if isinstance(error, DamagedSealError) else f"{SEAL}: {error!r}") from None
    if content["format"] != FORMAT:
        raise PedigreeError(
            f"{folder}: the checkpoint is of format {content['format']}, and this version reads {FORMAT}: finish the "
            "run with the version that wrote it, or remove the folder"
        )
    return content


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
