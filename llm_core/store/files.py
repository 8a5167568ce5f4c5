"""Writing so that a file is either whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_core.reasons import disk_error
from llm_core.runtime_only import runtime_only


@runtime_only("words errors")
@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk, a forbidden write and their like into an error that says where, why, and what to do.

    Also where a library has made an error of its own of it. What has no known reason is raised as it is.
    """
    try:
        yield
    except Exception as error:
        told = disk_error(error, folder)
        if told is None:
            raise
        raise told from error


@runtime_only("puts given bytes into a file")
def write_atomically(path: Path, data: bytes, flush: bool = True) -> None:
    """Write ``data`` to ``path`` through a temporary file beside it, flushed to the disk before the rename.

    Without ``flush``, a machine that loses power may leave a broken file: for what is only remembered, and checked when
    it is read. A flush takes milliseconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if flush:
        sync_folder(path.parent)


@runtime_only("flushes to the disk")
def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
