"""Asynchronous checkpointing: a thread per rank writes its part while training continues.

Ranks communicate through files here: collectives of this thread would mix with those of training.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llm_core.train.rank_files import index_name, part_name

_POLL_SECONDS = 0.02
_EXIT_PATIENCE_SECONDS = 30.0


class MissingPartError(Exception):
    """A rank will not write its part; the message says why."""


class AsyncSave:
    """A thread that writes a checkpoint: the rank's part; then, on the main rank, the checkpoint's manifest."""

    def __init__(self, step: int, write: Callable[[], None], publish: Callable[[], None] | None) -> None:
        self.step = step
        self.error: Exception | None = None
        self.written, self.published = threading.Event(), threading.Event()
        # Not a daemon: a run that fails still completes the checkpoint that it began.
        threading.Thread(target=self._run, args=(write, publish), name="checkpoint").start()

    def _run(self, write: Callable[[], None], publish: Callable[[], None] | None) -> None:
        try:
            write()
            self.written.set()
            if publish:
                publish()
        except Exception as error:
            self.error = error
        finally:
            self.written.set()
            self.published.set()


def give_up_part(folder: Path, rank: int, reason: str) -> None:
    """After a failed write: remove the part, which frees disk space, and write the reason for the main rank."""
    with suppress(OSError):
        (folder / part_name(rank)).unlink(missing_ok=True)
        _given_up(folder, rank).write_text(reason, encoding="utf-8")


def wait_for_part(folder: Path, rank: int) -> None:
    """Wait until ``rank`` has written its part.

    Raises ``MissingPartError`` when ``rank`` gave up, or when this process ends and the part does not come soon.
    """
    ended = None
    while not (folder / index_name(rank)).exists():
        time.sleep(_POLL_SECONDS)
        if not threading.main_thread().is_alive():
            ended = ended or time.monotonic()
            if time.monotonic() > ended + _EXIT_PATIENCE_SECONDS:
                raise MissingPartError(f"rank {rank} is gone")
        if _given_up(folder, rank).exists():
            raise MissingPartError(f"rank {rank}: {_given_up(folder, rank).read_text(encoding='utf-8')}")


def _given_up(folder: Path, rank: int) -> Path:
    return folder / f"{part_name(rank)}.given_up"
