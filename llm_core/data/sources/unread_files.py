"""Files in the folders of a source that are not read: those of unknown format, and hidden ones."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from llm_core.data.sources.streams import COMPRESSED

NAMED = 5
"""How many of the files a message names."""

HIDDEN = "hidden"
"""The suffix under which a file counts if its name, or the name of a folder above it, begins with a dot."""


def summary(names: Sequence[str]) -> dict[str, Any]:
    """The number of files, also per suffix (``HIDDEN`` for hidden files), and the first names."""
    suffixes = Counter(map(_suffix, names))
    return {
        "files": len(names),
        "by_suffix": dict(sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))),
        "first": sorted(names)[:NAMED],
    }


def message(source: str, unread: dict[str, Any]) -> str:
    """A ``summary`` as a line of text."""
    suffixes = ", ".join(f"{suffix or 'no suffix'}: {count}" for suffix, count in unread["by_suffix"].items())
    return (
        f"source {source!r}: {unread['files']} files of its folders were not read, because they are hidden or their "
        f"names say no known format ({suffixes}), such as {', '.join(unread['first'])}"
    )


def _suffix(name: str) -> str:
    path = PurePosixPath(name.lower())
    if any(part.startswith(".") for part in path.parts):
        return HIDDEN
    return PurePosixPath(path.stem).suffix + path.suffix if path.suffix in COMPRESSED else path.suffix
