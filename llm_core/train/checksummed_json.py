"""JSON files with a digest of their content. The digest detects damage and edits; it is no signature."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.reasons import explained
from llm_core.store.files import write_atomically


class DamagedFileError(ValueError):
    """A checksummed file is missing, damaged or edited."""


def write_checksummed(path: Path, content: dict[str, Any]) -> None:
    """Write JSON data with its digest, flushed to the disk. ``OSError`` when that fails."""
    text = json.dumps(content)
    write_atomically(path, json.dumps({"content": text, "sha256": _digest(text)}).encode())


def read_checksummed(path: Path) -> dict[str, Any]:
    """The data that ``write_checksummed`` wrote.

    Raises ``DamagedFileError`` when the file is missing, damaged or edited, and ``PedigreeError`` when the operating
    system can't read it.
    """
    try:
        file = json.loads(path.read_bytes())
        text = file["content"]
        if file["sha256"] != _digest(text):
            raise DamagedFileError(f"the content of {path.name} has changed")
        content: dict[str, Any] = json.loads(text)
    except FileNotFoundError:
        raise DamagedFileError(f"there is no {path.name}") from None
    except OSError as error:  # the file itself may be whole
        raise PedigreeError(f"{path}: can't be read: {explained(error)}") from None
    except DamagedFileError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path.name}: {error!r}") from None
    return content


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
