"""Atomic writes: a file is either complete or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm_core.reasons import disk_error
from llm_core.runtime_only import runtime_only


@runtime_only("words errors")
@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn a full disk, a denied write and the like into an error that says where, why, and what to do.

    This includes libraries' own errors for them. An error without a known reason passes unchanged.
    """
    try:
        yield
    except Exception as error:
        explained = disk_error(error, folder)
        if explained is None:
            raise
        raise explained from error


@runtime_only("puts given bytes into a file")
def write_atomically(path: Path, data: bytes, flush: bool = True) -> None:
    """Write ``data`` to a temporary file beside ``path``, flush it to the disk, and rename it to ``path``.

    Without ``flush``, a power failure may leave a broken file. Use that only for caches that are checked when they are
    read. A flush takes milliseconds.
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
