"""What lies in the folders of a source and is no part of it: files that nothing reads, and hidden ones."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from llm_core.data.sources.streams import COMPRESSED

NAMED = 5
"""So many of the files are named."""

HIDDEN = "hidden"
"""Stands for the suffix of files whose names, or whose folders' names, begin with a dot."""


def summary(names: Sequence[str]) -> dict[str, Any]:
    """How many files, by their suffix (``hidden`` for hidden ones), and the names of the first."""
    suffixes = Counter(map(_suffix, names))
    return {
        "files": len(names),
        "by_suffix": dict(sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))),
        "first": sorted(names)[:NAMED],
    }


def told(source: str, left_out: dict[str, Any]) -> str:
    """A summary as a line for people."""
    suffixes = ", ".join(f"{suffix or 'no suffix'}: {count}" for suffix, count in left_out["by_suffix"].items())
    return (
        f"source {source!r}: {left_out['files']} files of its folders were not read, for they are hidden or their "
        f"names say no format that is known ({suffixes}), such as {', '.join(left_out['first'])}"
    )


def _suffix(name: str) -> str:
    path = PurePosixPath(name.lower())
    if any(part.startswith(".") for part in path.parts):
        return HIDDEN
    return PurePosixPath(path.stem).suffix + path.suffix if path.suffix in COMPRESSED else path.suffix
