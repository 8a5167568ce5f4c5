"""Writing a checkpoint beside the training: the thread, and how the main rank learns of the other ranks' parts.

Ranks talk through files here. Collectives from a thread would get in between those of the training.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llm_core.train.rank_files import index_name, part_name

_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 30.0


class MissingPartError(Exception):
    """A rank's part will not come; the message says why."""


class AsyncSave:
    """A checkpoint that a thread of this rank writes: first its part, then (on the main rank) the seal of the whole."""

    def __init__(self, step: int, write: Callable[[], None], seal: Callable[[], None] | None) -> None:
        self.step = step
        self.error: Exception | None = None
        self.written, self.sealed = threading.Event(), threading.Event()
        # No daemon: a run that fails still has the checkpoint that it had begun.
        threading.Thread(target=self._run, args=(write, seal), name="checkpoint").start()

    def _run(self, write: Callable[[], None], seal: Callable[[], None] | None) -> None:
        try:
            write()
            self.written.set()
            if seal:
                seal()
        except Exception as error:
            self.error = error
        finally:
            self.written.set()
            self.sealed.set()


def give_up_part(folder: Path, rank: int, reason: str) -> None:
    """After a write that failed: leave room on the disk, and word for the main rank where that can be written."""
    with suppress(OSError):
        (folder / part_name(rank)).unlink(missing_ok=True)
        _given_up(folder, rank).write_text(reason, encoding="utf-8")


def wait_for_part(folder: Path, rank: int) -> None:
    """Wait until ``rank`` has written its part; where this process has come to its end, not for long.

    Raises ``MissingPartError`` when there is none to come.
    """
    ended = None
    while not (folder / index_name(rank)).exists():
        time.sleep(_POLL_SECONDS)
        if not threading.main_thread().is_alive():
            ended = ended or time.monotonic()
            if time.monotonic() > ended + _PATIENCE_SECONDS:
                raise MissingPartError(f"rank {rank} is gone")
        if _given_up(folder, rank).exists():
            raise MissingPartError(f"rank {rank}: {_given_up(folder, rank).read_text(encoding='utf-8')}")


def _given_up(folder: Path, rank: int) -> Path:
    return folder / f"{part_name(rank)}.given_up"
