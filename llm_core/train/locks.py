"""File locks that say who holds them. The kernel drops a lock with its process, so a held one has a living owner."""

import fcntl
import json
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llm_core.errors import PedigreeError

_POLL_SECONDS = 0.2


@contextmanager
def held(path: Path, waiting: Callable[[str], None] | None = None) -> Iterator[int]:
    """Hold the lock ``path``; gives its file descriptor, which keeps the lock for whoever inherits it.

    While somebody else holds it: with ``waiting``, call that once with who it is, and wait; without, ``PedigreeError``.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise PedigreeError(f"{path}: can't be written: {error.strerror}; make its folder writable") from None
    try:
        said = False
        while not _locked(descriptor):
            if waiting is None:
                raise PedigreeError(
                    f"{path}: another process is at work here ({_owner(path)}); wait until it has ended"
                )
            if not said:
                waiting(_owner(path))
                said = True
            time.sleep(_POLL_SECONDS)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock ``path``."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)


def end_holder(path: Path, patience: float, log: Callable[[str], None]) -> None:
    """Wait ``patience`` seconds for the holder of ``path`` to end by itself, then TERM, wait again, and KILL it."""
    for step in (None, signal.SIGTERM, signal.SIGKILL):
        if not is_held(path):
            return
        if step is None:
            log(f"{path}: a trainer of an earlier attempt is still at work ({_owner(path)}); waiting for it to stop")
        else:
            log(f"{path}: ending the trainer of an earlier attempt ({_owner(path)}) with {step.name}")
            _signal_owner(path, step)
        deadline = time.monotonic() + patience
        while is_held(path) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    if is_held(path):
        raise PedigreeError(f"{path}: its holder can't be ended ({_owner(path)}); end it by hand, and run again")


def _signal_owner(path: Path, number: signal.Signals) -> None:
    try:
        owner = json.loads(path.read_bytes())
        pid, host = int(owner["pid"]), owner["host"]
    except (ValueError, KeyError):  # taken a moment ago, and its owner not written yet
        return
    if host != platform.node():
        raise PedigreeError(f"{path}: a trainer on {host} still holds it (process {pid}); end it there, and run again")
    if is_held(path):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_bytes())
        return f"process {owner['pid']} on {owner['host']}"
    except (ValueError, KeyError):
        return "a process that has just taken it"
