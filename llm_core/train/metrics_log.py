"""``metrics.jsonl``: one JSON object a step, appended while the run goes on."""

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
"""Fields of a line that follow from what the identity covers. The held-out loss is none of them: how often, and on how
many tokens, it is measured may change."""
LEFT_OUT_REASON = "left out after a rollback"
"""The ``reason`` of steps that are skipped without being bad themselves."""


def chained_digest(before: str, metrics: Mapping[str, Any]) -> str:
    """A digest of a line's lasting fields and of all lines before it, whose digest is ``before``."""
    lasting = json.dumps([_plain(metrics.get(name)) for name in CURVE])
    return sha256(f"{before}{lasting}".encode()).hexdigest()[:32]


class JsonLinesWriter:
    """Appends JSON objects with a ``step`` to ``path``, after cutting it off at the first torn line or one that
    ``stays`` does not want (of steps that are about to be made again)."""

    def __init__(self, path: Path, stays: Callable[[dict[str, Any]], bool]) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._descriptor, _end(path.read_bytes(), stays))
        except OSError as error:
            raise _unwritable(path, error) from None

    def append(self, metrics: Mapping[str, Any]) -> None:
        """Write one line, in one piece. What is not finite becomes null: JSON has no word for it."""
        line = (json.dumps(_plain(metrics), allow_nan=False) + "\n").encode()
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
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
        f"{path}: can't be written: {explained(error)}. Then run again: training goes on from the last checkpoint"
    )


def _end(content: bytes, stays: Callable[[dict[str, Any]], bool]) -> int:
    """How many bytes at the head of ``content`` are whole lines that stay."""
    end = 0
    for line in content.splitlines(keepends=True):
        record = _parsed(line)
        if record is None or not stays(record):
            break
        end += len(line)
    return end


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The record in a line; None for one that is torn."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines."""
    records = [_parsed(line) for line in path.read_bytes().splitlines(keepends=True)]
    return [record for record in records if record is not None]


def skipped_steps(path: Path) -> set[int]:
    """The steps that changed no weights; none where the run has not begun."""
    return {record["step"] for record in read_metrics(path) if record["skipped"]} if path.exists() else set()


class MetricsFollower:
    """Reads what a running trainer appends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._changed = time.monotonic()

    def new(self) -> list[dict[str, Any]]:
        """The whole lines since the last call."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                if size < self._offset:  # a resumed run has cut its file
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
        """Time since a line came, or since the start."""
        return time.monotonic() - self._changed
