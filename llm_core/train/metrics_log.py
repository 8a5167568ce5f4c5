"""``metrics.jsonl``: one JSON object per step, appended while the run trains."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.reasons import explained

METRICS = "metrics.jsonl"
CURVE = ("step", "loss", "lr", "grad_norm", "skipped", "batch")
"""Fields of a line that the identity determines. The validation loss is not one of them: its interval and its number of
tokens may change."""
LEFT_OUT_REASON = "left out after a rollback"
"""The ``reason`` of steps that are skipped without being bad."""


def chained_digest(before: str, metrics: Mapping[str, Any]) -> str:
    """A digest of the line's ``CURVE`` fields and of ``before``, the digest of all earlier lines."""
    curve = json.dumps([_plain(metrics.get(name)) for name in CURVE])
    return sha256(f"{before}{curve}".encode()).hexdigest()[:32]


class JsonLinesWriter:
    """Appends JSON objects with a ``step`` to ``path``. At first it truncates the file before the first line that is
    torn, or for which ``stays`` is false (of a step that will be repeated)."""

    def __init__(self, path: Path, stays: Callable[[dict[str, Any]], bool]) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._descriptor, _end(path.read_bytes(), stays))
        except OSError as error:
            raise _unwritable(path, error) from None

    def append(self, metrics: Mapping[str, Any]) -> None:
        """Write one line. Numbers that are not finite become null, since JSON has none."""
        line = (json.dumps(_plain(metrics), allow_nan=False) + "\n").encode()
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def sync(self) -> None:
        """Flush all lines to the disk."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _unwritable(path: Path, error: OSError) -> PedigreeError:
    return PedigreeError(
        f"{path}: can't be written: {explained(error)}. Then run again: training resumes from the last checkpoint"
    )


def _end(content: bytes, stays: Callable[[dict[str, Any]], bool]) -> int:
    """The number of bytes at the head of ``content`` that are whole lines to keep."""
    end = 0
    for line in content.splitlines(keepends=True):
        record = _parsed(line)
        if record is None or not stays(record):
            break
        end += len(line)
    return end


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The object in a line; None for a torn line."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The objects of all whole lines."""
    records = [_parsed(line) for line in path.read_bytes().splitlines(keepends=True)]
    return [record for record in records if record is not None]


def skipped_steps(path: Path) -> set[int]:
    """The steps that did not change the weights; none before the run has started."""
    return {record["step"] for record in read_metrics(path) if record["skipped"]} if path.exists() else set()


class MetricsFollower:
    """Reads the lines that a running trainer appends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._changed = time.monotonic()

    def new(self) -> list[dict[str, Any]]:
        """The objects of the whole lines since the last call."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if size < self._offset:  # a resumed run has truncated its file
                    self._offset = size
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        if whole:
            self._offset += len(whole)
            self._changed = time.monotonic()
        return [record for line in whole.splitlines(keepends=True) if (record := _parsed(line)) is not None]

    def idle_seconds(self) -> float:
        """Seconds since the last new line, or since the start."""
        return time.monotonic() - self._changed
