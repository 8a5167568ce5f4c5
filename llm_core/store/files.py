"""Writing so that a file is either whole or not there."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only


@runtime_only("words errors")
@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden write into an error that says where, and that nothing was committed."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full",
            errno.EDQUOT: "the disk quota is used up",
            errno.EROFS: "the file system is read-only",
            errno.EACCES: "writing is not permitted",
        }
        reason = reasons.get(error.errno or 0)
        if reason is None:
            raise
        raise PedigreeError(
            f"{error.filename or folder}: {reason}. Nothing was committed; mend it and run again: "
            f"finished artifacts and checkpoints are kept."
        ) from error


@runtime_only("puts given bytes into a file")
def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary file beside it, flushed to the disk before the rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@runtime_only("flushes to the disk")
def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
