"""Parts in the store. ``parts/<kind>/<xx>/<key>/`` contains the files of one part and ``part.json``; it appears
atomically.

Artifacts share these files by hard links, so a part takes no extra disk space while an artifact has it. ``making/``
contains parts that are being built, each with a note that names its process. ``quarantine/`` contains damaged parts
and foreign files that were found in the place of a part.
"""

import json
import os
import platform
import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_hexdigest

from llm_core.runtime_only import runtime_only
from llm_core.store.digests import file_digest
from llm_core.store.files import write_atomically
from llm_core.store.manifest import FileRecord

RECORD = "part.json"

_MAKER = ".maker.json"

_LEFT_BEHIND = 24 * 3600.0


@dataclass(frozen=True)
class Part:
    """A finished part: its files (paths relative to ``folder``, and to the artifact), and its statistics."""

    name: str
    folder: Path
    files: list[FileRecord]
    stats: dict[str, Any]

    def link(self, out: Path) -> None:
        """Put all files into the artifact's folder ``out``: as hard links, or as copies where links can't be made."""
        for record in self.files:
            target = out / record.path
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(self.folder / record.path, target)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link ``source`` to ``target``, or copy it where the file system can't link them."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def recorded(folder: Path, stats: dict[str, Any]) -> tuple[list[FileRecord], dict[str, Any]]:
    """The record of a part: (all files of ``folder``, by path; ``stats`` after a round trip through JSON)."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [
        FileRecord(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, xxh3=file_digest(path))
        for path in paths
    ]
    return files, json.loads(json.dumps(stats))


@runtime_only("finds and commits parts by their keys")
class PartStore:
    """The parts of one kind, by key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, key: str) -> Path:
        """The folder of the finished part."""
        return self.root / key[:2] / key

    def known(self, key: str) -> list[FileRecord] | None:
        """The files of a part. None when the part is missing, or damaged as far as sizes and times show.

        Hashes only files that were written after the part was built, because every plan asks for all parts.
        """
        record, folder = self._record(key), self.folder(key)
        if record is None:
            return None
        files = [FileRecord(**file) for file in record["files"]]
        try:
            made = (folder / RECORD).stat().st_mtime_ns
            times = [(folder / file.path).stat() for file in files]
        except OSError:
            return None
        for file, now in zip(files, times, strict=True):
            if now.st_size != file.size or (now.st_mtime_ns > made and not _is_whole(folder / file.path, file)):
                return None
        return files

    def find(self, name: str, key: str) -> Part | None:
        """The part, after hashing its files; None when there is none. A damaged part, or anything else in its place, is
        moved to quarantine, so that the part is built again."""
        folder = self.folder(key)
        if not folder.exists():  # asked first: a part that is committed a moment later is not a damaged one
            return None
        record = self._record(key)
        if record is not None:
            files = [FileRecord(**file) for file in record["files"]]
            if all(_is_whole(folder / file.path, file) for file in files):
                return Part(name, folder, files, record["stats"])
        aside = self.root / "quarantine" / f"{key}-{time.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # another process may do the same
            folder.rename(aside)
        return None

    def scratch(self, key: str) -> Path:
        """A new empty folder of this process. Fill it, and pass it to ``commit``."""
        folder = self.root / "making" / f"{key}-{uuid.uuid4().hex[:8]}"
        maker = {"making": folder.name, "host": platform.node(), "pid": os.getpid()}
        write_atomically(_maker(folder), json.dumps(maker).encode())  # first: a folder without this note is not ours
        folder.mkdir()
        return folder

    def commit(self, name: str, key: str, scratch: Path, files: list[FileRecord], stats: dict[str, Any]) -> Part:
        """Move ``scratch``, which contains ``files``, into place as the part. If another process was first, its equal
        part stays."""
        record = {"name": name, "files": [file.model_dump() for file in files], "stats": stats}
        for file in files:
            (scratch / file.path).chmod(0o444)
        write_atomically(scratch / RECORD, json.dumps({**record, "seal": _seal(record)}, ensure_ascii=False).encode())
        folder = self.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.rename(folder)
        except OSError:
            if not (folder / RECORD).is_file():
                raise
            shutil.rmtree(scratch)
        _maker(scratch).unlink(missing_ok=True)
        return Part(name, folder, files, stats)

    def discard(self, scratch: Path) -> None:
        """Remove an unfinished part."""
        shutil.rmtree(scratch, ignore_errors=True)
        _maker(scratch).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove unfinished parts of killed workers that are older than a day. A worker on another machine may still
        build a younger one."""
        for note in (self.root / "making").glob(f"*{_MAKER}"):
            try:
                maker = json.loads(note.read_bytes())
                scratch = note.with_name(maker["making"])
                old = time.time() - note.stat().st_mtime > _LEFT_BEHIND
                if old and _maker(scratch) == note and not _lives(maker["host"], maker["pid"]):
                    self.discard(scratch)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # its part was committed meanwhile, or the note is not ours

    def _record(self, key: str) -> dict[str, Any] | None:
        try:
            record = json.loads((self.folder(key) / RECORD).read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(record, dict) or record.pop("seal", None) != _seal(record):
            return None
        return record


def _maker(scratch: Path) -> Path:
    """The note beside a scratch folder that names the process that fills it."""
    return scratch.with_name(f"{scratch.name}{_MAKER}")


def _lives(host: str, pid: int) -> bool:
    """Whether the process is known to run: it is on this machine, and has not ended."""
    if host != platform.node():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # the process of another user
    return True


def _seal(record: dict[str, Any]) -> str:
    """A digest of the record: it detects damaged statistics."""
    return xxh3_128_hexdigest(json.dumps(record).encode())


def _is_whole(path: Path, record: FileRecord) -> bool:
    try:
        return path.stat().st_size == record.size and file_digest(path) == record.xxh3
    except OSError:
        return False
