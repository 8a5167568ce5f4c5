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
"""Longest tick of the clock of file systems, in ns: kernels advance it 100 to 1000 times a second."""

_COARSE_TICK = 2_000_000_000
"""Of file systems whose times are whole seconds."""


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
    """SHA-256 of a file's content, as 64 hexadecimal digits: what the Hugging Face Hub calls large files by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@runtime_only("what the file system says of a file")
def stamp(path: Path) -> list[int]:
    """What changes whenever a file is written: size, time of change, inode, time of any change of the inode (ns).

    The last one can't be set by programs, so an edit whose time was put back shows. It also changes when a hard link
    is made or the mode is changed: then the file is read once more. No device number: hosts that share a file system
    number it differently. A file that was changed within the last tick of its file system's clock could be changed
    again under the same stamp, so the tick is waited for: 20 ms, or 2 s where times are whole seconds.
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
    """``file_digest`` of a file outside the store, read only when its stamp is new: plans ask for it every time."""
    return _remembered(path, "sources", file_digest)


@runtime_only("a published hash of a file")
def source_sha256(path: Path) -> str:
    """``sha256_digest`` of a file outside the store, likewise."""
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
        pass  # never read before, or what was remembered is not whole: reading the file answers
    digest = compute(path)
    with suppress(OSError):  # a memory only: on a disk that can't be written, the file is read again next time
        write_atomically(memory, json.dumps({"file": now, "digest": digest}).encode(), flush=False)
    return digest
