"""Run a command in its own session, and end all of its processes whatever happens.

Three mechanisms stop processes from outliving their launcher:

- **A lifeline.** The command's standard input is a pipe that the launcher keeps open and never writes to. All
  descendants inherit it (torchrun starts its workers in their own sessions, but they inherit it too). End of file
  means that the launcher is gone, even after ``kill -9``. ``PEDIGREE_LIFELINE=stdin`` in the environment tells a
  program that its standard input is such a pipe.
- **A mark.** A unique environment variable. With it, the launcher finds every descendant in ``/proc``, also those
  that have left the process group or lost their parent. Without ``/proc``, only the process group is ended.
- **TERM, a grace period, KILL**, on success, on failure, and on any exception that passes through.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only

LIFELINE = "PEDIGREE_LIFELINE"
MARK = "PEDIGREE_LAUNCH"

_PROC = Path("/proc")
_TAIL_LINES = 30
_TAIL_BYTES = 16_384
_KILL_SECONDS = 30.0
"""Seconds that the kernel may take to end a killed process (a process that waits for a device can't end at once)."""


@runtime_only("starts and ends processes, which check their own code")
def run_group(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    tick: Callable[[], None] | None = None,
    tick_seconds: float = 1.0,
    idle_seconds: Callable[[], float] | None = None,
    watchdog_seconds: float | None = None,
    grace_seconds: float = 120.0,
    keep_open: Sequence[int] = (),
) -> None:
    """Run ``command`` until it ends, and append its output to ``log``.

    ``tick`` is called every ``tick_seconds`` and once more at the end. The command is ended when ``idle_seconds()``
    exceeds ``watchdog_seconds``. ``grace_seconds``: time between TERM and KILL. ``keep_open``: file descriptors that
    the command inherits (a lock that must last as long as the command).

    Raises ``PedigreeError`` with the last lines of the log when the command can't start, fails, or makes no progress.
    """
    mark = uuid4().hex
    try:
        output = log.open("ab")
    except OSError as error:
        raise PedigreeError(f"{log}: can't be written: {error.strerror}; make its folder writable") from None
    with output:
        try:
            with _term_not_ignored():
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=tuple(keep_open),
                    env={**os.environ, **(environment or {}), LIFELINE: "stdin", MARK: mark},
                )
        except OSError as error:
            raise PedigreeError(f"{command[0]}: can't be started: {error.strerror}") from None
    try:
        while not _exited(process, tick_seconds):
            if tick:
                tick()
            if watchdog_seconds is not None and idle_seconds is not None and idle_seconds() > watchdog_seconds:
                raise PedigreeError(
                    f"{_name(command)} made no progress for {watchdog_seconds:g} s and was ended; {_tail(log)}"
                )
    finally:
        _end(process, mark, grace_seconds)
    if tick:
        tick()
    if process.returncode:
        raise PedigreeError(f"{_name(command)} {_outcome(process.returncode)}; {_tail(log)}")


@contextmanager
def _term_not_ignored() -> Iterator[None]:
    """Inside this context, a new command does not inherit an ignored TERM: we ask it to stop with TERM.

    Only the main thread can set signals. In other threads, a command that ignores TERM is killed after the grace
    period.
    """
    ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _exited(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes], mark: str, grace_seconds: float) -> None:
    """End all processes that still run. A second interrupt ends the grace period early."""
    assert process.stdin
    process.stdin.close()
    try:
        if _members(process, mark):
            # Only the group gets the signal. Torchrun forwards it to its workers, and the workers' helpers (a tracker
            # that uploads) must keep running.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            _wait_until_gone(process, mark, grace_seconds)
    finally:
        deadline = time.monotonic() + _KILL_SECONDS
        while (members := _members(process, mark)) and time.monotonic() < deadline:
            for member in members:
                with suppress(ProcessLookupError):
                    os.kill(member, signal.SIGKILL)
            _wait_until_gone(process, mark, 1.0)
        process.wait(_KILL_SECONDS)


def _wait_until_gone(process: subprocess.Popen[bytes], mark: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _members(process, mark):
        time.sleep(0.05)


def _members(process: subprocess.Popen[bytes], mark: str) -> list[int]:
    """The arguments of ``os.kill`` that reach every living process of the launch."""
    running = [process.pid] if process.poll() is None else []
    if not _PROC.is_dir():
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return running
        return [-process.pid]
    entry = f"{MARK}={mark}".encode()
    marked = []
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            # The process may have ended, or belong to another user. An ended process has no environment.
            with suppress(OSError):
                if entry in (folder / "environ").read_bytes().split(b"\0"):
                    marked.append(int(folder.name))
    return sorted({*running, *marked})


def _name(command: Sequence[str]) -> str:
    return " ".join(command)


def _outcome(code: int) -> str:
    return f"ended with exit code {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        lines = file.read().decode("utf-8", errors="replace").splitlines()[-_TAIL_LINES:]
    return f"the last lines of {log}:\n" + "\n".join(lines) if lines else f"{log} is empty"
