"""File locks that say who holds them. The kernel drops a lock with its process, so a held one has a living owner."""

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
    """Hold the lock ``path``; gives its file descriptor, which keeps the lock for whoever inherits it.

    ``PedigreeError`` while somebody else holds it.
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
    """Take the lock ``path`` and write ``about`` its owner into it; its descriptor, or None where it is held.

    Users may share its folder (``/tmp``). So a file of another user is opened without O_CREAT, which kernels refuse in
    such folders; and nothing but a plain file that has no other name is written to. ``OSError`` where that can't be.
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
        os.close(descriptor)  # someone tidied the folder meanwhile: that file is no lock any more


def _opened(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(descriptor, 0o666)  # whatever the umask: it is for all users
        except FileExistsError:
            return _opened(path)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a lock file, but a device or a second name of another file", str(path))
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
    """Wait ``patience`` seconds for the holder of ``path`` to end by itself, then TERM, wait again, and KILL it."""
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


def owner(path: Path) -> str:
    """Who wrote into the lock: process, machine, what it makes, and since when."""
    try:
        found = json.loads(path.read_bytes())
        what = f" ({found['what']}, user {found['user']})" if "what" in found else ""
        since = f" since {time.strftime('%Y-%m-%d %H:%M', time.localtime(found['since']))}" if "since" in found else ""
        ended = ", which has ended: a trainer of it is about to" if _has_ended(found) else ""
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
