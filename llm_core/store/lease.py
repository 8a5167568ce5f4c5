"""One builder per artifact: an operating-system lock, and a token that must still be valid at the commit."""

import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from llm_core.errors import PedigreeError
from llm_core.store.files import write_atomically

POLL_SECONDS = 0.5


class Lease:
    """The right to build one artifact. Call ``check`` before every irrevocable step."""

    def __init__(self, owner_file: Path, token: str) -> None:
        self._owner_file = owner_file
        self._token = token

    def check(self) -> None:
        """Raise ``PedigreeError`` when another process has taken over the lease."""
        owner = _owner(self._owner_file)
        if owner.get("token") != self._token:
            raise PedigreeError(
                f"{_describe(owner)} took over the lease {self._owner_file.name} (the lock of this artifact), so this "
                "process stored nothing; let the other process finish, then run again"
            )


@contextmanager
def lease(folder: Path, name: str, waiting: Callable[[str], None] = lambda _: None) -> Iterator[Lease]:
    """Hold the lease ``name``. Waits for a living owner, and takes over from a dead one.

    The kernel frees the lock when a process dies, however it dies, so no time-out is needed. ``waiting`` is called
    once with a text that names the owner.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner_file = folder / f"{name}.json"
    lock = FileLock(folder / f"{name}.lock")
    reported = False
    while True:
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except Timeout:
            if not reported:
                waiting(f"waiting for {_describe(_owner(owner_file))}, which makes {name}")
                reported = True
    try:
        token = uuid.uuid4().hex
        owner = {"token": token, "host": platform.node(), "pid": os.getpid(), "since": time.time()}
        write_atomically(owner_file, json.dumps(owner).encode())
        yield Lease(owner_file, token)
    finally:
        lock.release()


def _owner(path: Path) -> dict[str, object]:
    try:
        owner = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _describe(owner: dict[str, object]) -> str:
    return f"process {owner['pid']} on {owner['host']}" if {"pid", "host"} <= owner.keys() else "another process"
