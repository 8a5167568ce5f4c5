"""``validation_windows.jsonl``: the loss of each validation window at the end of a run.

Later stages estimate the noise of a loss from these lines, so the file is part of the artifact's content.
"""

import json
import math
from pathlib import Path

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.reasons import explained
from llm_core.tokens.reader import ShardReader

WINDOWS = "validation_windows.jsonl"


def write_windows(
    path: Path,
    reader: ShardReader,
    starts: np.ndarray,
    length: int,
    targets: np.ndarray,
    windows_3W: np.ndarray,
    has_bytes: bool,
) -> None:
    """Write one line per window of ``length`` tokens; ``starts``, ``targets`` (the number of targets of each window)
    and ``windows_3W`` as in ``validation``.

    ``nats`` of all windows over ``tokens`` of all is the validation loss, ``text_nats`` over ``bytes`` (and over ln 2)
    the bits per byte, both exactly. Nats that are not finite are null; so are those of text, and bytes, without
    ``has_bytes``. Raises ``PedigreeError`` when the file can't be written.
    """
    documents = main_documents(reader.offsets, starts, length)
    lines = []
    for number, (nats, text_nats, size) in enumerate(windows_3W.T.tolist()):
        line = {
            "number": number,
            "start_token": int(starts[number]),
            "tokens": int(targets[number]),
            "nats": _finite(nats),
            "text_nats": _finite(text_nats) if has_bytes else None,
            "bytes": int(size) if has_bytes else None,
            "document": documents[number],
        }
        lines.append(json.dumps(line) + "\n")
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise PedigreeError(
            f"{path}: can't be written: {explained(error)}. Then run again: training resumes from the last checkpoint"
        ) from None


def main_documents(offsets: np.ndarray, starts: np.ndarray, length: int) -> list[int]:
    """The document with most tokens of each window, by its number in the split; of several, the first.

    Windows with the same one are alike. A window of many short documents counts as one of its largest document: its
    other documents are mostly in no other window, since windows are apart from each other.
    """
    found = []
    for start in starts.tolist():
        first, last = np.searchsorted(offsets, (start, start + length - 1), side="right") - 1
        borders = np.clip(offsets[first : last + 2], start, start + length)
        found.append(int(first + np.diff(borders).argmax()))
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
