"""Content digests of files."""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from xxhash import xxh3_64_hexdigest, xxh3_128

from llm_core.runtime_only import runtime_only
from llm_core.store.files import write_atomically
from llm_core.store.home import pedigree_home

_CHUNK = 1 << 22

_TICK = 20_000_000
"""Longest tick of a file system's clock, in ns: kernels advance it 100 to 1000 times per second."""

_COARSE_TICK = 2_000_000_000
"""The same (ns) for file systems whose times are whole seconds."""


@runtime_only("a published hash of a file")
def file_digest(path: Path) -> str:
    """xxh3-128 of a file's content, as 32 hexadecimal digits; reads 4 MiB at a time."""
    digest = xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@runtime_only("a published hash of a file")
def sha256_digest(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits. The Hugging Face Hub identifies large files by it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@runtime_only("what the file system says of a file")
def stamp(path: Path) -> list[int]:
    """Size, mtime, inode and ctime (ns) of a file: they change whenever the file is written.

    Programs can't set the ctime, so it reveals an edit whose mtime was set back. It also changes with a new hard link
    or mode: then the file is read once more. The device number is left out, because hosts that share a file system
    number it differently. A file could change twice within one tick of its file system's clock and keep its stamp. So
    this function waits until a tick has passed since the last change: 20 ms, or 2 s where times are whole seconds.
    """
    status = path.stat()
    tick = _COARSE_TICK if status.st_ctime_ns % 1_000_000_000 == 0 else _TICK
    age = time.time_ns() - status.st_ctime_ns
    if 0 <= age < tick:
        time.sleep((tick - age) / 1e9)
        status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]


@runtime_only("a published hash of a file")
def source_digest(path: Path) -> str:
    """``file_digest`` of a file outside the store. Read only when its stamp is new, because every plan needs it."""
    return _remembered(path, "sources", file_digest)


@runtime_only("a published hash of a file")
def source_sha256(path: Path) -> str:
    """``sha256_digest`` of a file outside the store. Read only when its stamp is new."""
    return _remembered(path, "sources_sha256", sha256_digest)


def _remembered(path: Path, what: str, compute: Callable[[Path], str]) -> str:
    path = path.resolve()
    memory = pedigree_home() / "store" / "stamps" / what / f"{xxh3_64_hexdigest(str(path).encode())}.json"
    now = [str(path), *stamp(path)]
    try:
        known = json.loads(memory.read_bytes())
        if known["file"] == now:
            return str(known["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # never read before, or the cache entry is damaged: read the file
    digest = compute(path)
    with suppress(OSError):  # only a cache: on a read-only disk, the file is read again next time
        write_atomically(memory, json.dumps({"file": now, "digest": digest}).encode(), flush=False)
    return digest
