"""File locks with the name of their owner. The kernel releases a lock when its process ends, so owners are alive."""

import errno
import fcntl
import json
import os
import platform
import signal
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.reasons import explained
from llm_core.runtime_only import runtime_only

_POLL_SECONDS = 0.2


@runtime_only("keeps two writers apart")
@contextmanager
def held(path: Path) -> Iterator[int]:
    """Hold the lock ``path``. Yields its file descriptor; a process that inherits it keeps the lock.

    ``PedigreeError`` when another process holds the lock.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = take(path, {})
    except OSError as error:
        raise PedigreeError(f"{path}: can't be written: {explained(error)}") from None
    if descriptor is None:
        raise PedigreeError(f"{path}: another process is at work here ({owner(path)}); wait until it has ended")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def take(path: Path, about: Mapping[str, Any]) -> int | None:
    """Take the lock ``path``, and write its owner and ``about`` into it. Returns its descriptor, or None when held.

    Users may share the folder (``/tmp``). Kernels refuse O_CREAT there for another user's file, so an existing file is
    opened without it. Only a plain file without hard links is written; otherwise ``OSError``.
    """
    while True:
        descriptor = _opened(path)
        try:
            if not _locked(descriptor):
                os.close(descriptor)
                return None
            if _is_there(path, descriptor):
                text = json.dumps({"pid": os.getpid(), "host": platform.node(), "since": time.time(), **about})
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, text.encode(), 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody removed the file meanwhile: take the new one


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(descriptor, 0o666)  # for all users, whatever the umask
        except FileExistsError:
            return _opened(path)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a lock file, but a device or a hard link", str(path))
    return descriptor


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


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
    """Wait ``patience`` seconds for the holder of ``path`` to end; then send TERM, wait again, and send KILL."""
    for step in (None, signal.SIGTERM, signal.SIGKILL):
        if not is_held(path):
            return
        if step is None:
            log(f"{path}: a trainer of an earlier attempt is still at work ({owner(path)}); waiting for it to stop")
        else:
            log(f"{path}: ending the trainer of an earlier attempt ({owner(path)}) with {step.name}")
            _signal_owner(path, step)
        deadline = time.monotonic() + patience
        while is_held(path) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    if is_held(path):
        raise PedigreeError(f"{path}: its holder can't be ended ({owner(path)}); end it by hand, and run again")


def _signal_owner(path: Path, number: signal.Signals) -> None:
    try:
        owner = json.loads(path.read_bytes())
        pid, host = int(owner["pid"]), owner["host"]
    except (ValueError, KeyError):  # just taken: the owner is not written yet
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


def owner(path: Path) -> str:
    """The owner in the lock file: process, machine, work and time."""
    try:
        found = json.loads(path.read_bytes())
        what = f" ({found['what']}, user {found['user']})" if "what" in found else ""
        since = f" since {time.strftime('%Y-%m-%d %H:%M', time.localtime(found['since']))}" if "since" in found else ""
        ended = ", which has ended; its trainer still runs" if _has_ended(found) else ""
        return f"process {found['pid']} on {found['host']}{what}{since}{ended}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has just taken it"


def _has_ended(found: Mapping[str, Any]) -> bool:
    if found["host"] != platform.node():
        return False
    try:
        os.kill(int(found["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
