"""Plain-language causes and remedies of system errors.

Polars, safetensors, DuckDB and torch turn a full disk into their own errors, which have no ``errno``. There, the
operating system's text in the message gives the reason.
"""

import errno
import os
import re
import traceback
from dataclasses import dataclass

from llm_core.errors import PedigreeError


@dataclass(frozen=True)
class Reason:
    """``what``: what happened, as part of a sentence. ``remedy``: what to do, as an imperative."""

    what: str
    remedy: str


_DISK = {
    errno.ENOSPC: Reason("the disk is full", "make room there"),
    errno.EDQUOT: Reason("the disk quota is used up", "make room there, or ask for a larger quota"),
    errno.EFBIG: Reason("the file is larger than allowed", "raise the limit (`ulimit -f`), or use another file system"),
    errno.EROFS: Reason("the file system is read-only", "mount it writable, or use another folder"),
    errno.EACCES: Reason("permission is denied", "give this user the right to read and write there"),
    errno.EPERM: Reason("the operation is not permitted", "give this user the right to read and write there"),
    errno.ENOENT: Reason("there is no such file or folder (any more)", "put it back, or mount its disk again"),
    errno.ENOTDIR: Reason("a file stands where a folder should be", "move it away"),
    errno.EEXIST: Reason("something of that name is there already", "move it away"),
    errno.ESTALE: Reason("the network file system has lost the file", "mount it again"),
    errno.EIO: Reason("the disk reports an error", "look at the disk (`dmesg` may say more)"),
    errno.EMFILE: Reason("too many files are open in this process", "raise the limit (`ulimit -n`)"),
    errno.ENFILE: Reason("too many files are open on this machine", "raise the limit (`sysctl fs.file-max`)"),
}
_MEMORY = Reason("memory ran out", "free memory on this machine, or lower compute.workers or compute.micro_batch")
_REASONS = {**_DISK, errno.ENOMEM: _MEMORY}
# torch's archive writer does not report the operating system's reason.
_TORCH_WRITER = "inline_container.cc"
_NOT_ALL = Reason("torch could not write the whole file", "make room on the disk, or raise the quota or `ulimit -f`")


def reason_of(error: BaseException) -> Reason | None:
    """The reason of ``error`` or of its cause. None for an unknown reason, and for a ``PedigreeError``."""
    if isinstance(error, PedigreeError):
        return None
    if isinstance(error, MemoryError):
        return _MEMORY
    if isinstance(error, OSError) and error.errno is not None:
        return _REASONS.get(error.errno)
    text = str(error)
    for code, reason in _REASONS.items():
        if re.search(rf"os error {code}\b", text) or os.strerror(code) in text:
            return reason
    if _TORCH_WRITER in text:
        return _NOT_ALL
    return reason_of(error.__cause__) if error.__cause__ else None


def explained(error: BaseException) -> str:
    """The reason and the remedy, as "the disk is full: make room there". For an unknown error, type and message."""
    reason = reason_of(error)
    return said(error) if reason is None else f"{reason.what}{_in_full(error)}: {reason.remedy}"


def said(error: BaseException) -> str:
    """Type and message of an error that has no known reason."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def place_of(error: BaseException) -> str:
    """The file and line where ``error`` was raised."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if not frame.filename.startswith("<frozen")), frames[-1])
    return f"{last.filename}, line {last.lineno}"


def _in_full(error: BaseException) -> str:
    """A library's message, because it may name a file. Empty for an error of the operating system."""
    if isinstance(error, OSError) and error.errno is not None:
        return ""
    return f" ({said(error)})"


def disk_error(error: BaseException, place: object) -> PedigreeError | None:
    """The error of a stage that could not read or write. It names the file, or ``place``. None for other errors."""
    reason = reason_of(error)
    if reason is None:
        return None
    named = error.filename if isinstance(error, OSError) and isinstance(error.filename, str) else place
    remedy = reason.remedy[0].upper() + reason.remedy[1:]
    return PedigreeError(
        f"{named}: {reason.what}{_in_full(error)}. Nothing was committed. {remedy}, and run again: finished artifacts "
        "and checkpoints are kept."
    )
