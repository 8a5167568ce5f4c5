"""The store: artifacts by kind and identity, committed atomically.

::

    artifacts/<kind>/<identity>/   the files and manifest.json
    parts/<kind>/<xx>/<key>/       pieces of artifacts, built and found one by one; artifacts hard-link their files
    work/<kind>/<identity>/        the files of an unfinished attempt; its ``out`` becomes the artifact
      last/<experiment>/<stage>.json the last identity of an experiment's stage
    leases/, stamps/               which process builds what; which files were hashed
    quarantine/                    damaged artifacts, parts and files
    quarantined/<kind>/<identity>.json which files of an artifact were quarantined, when and why

Other files there, such as a user's notes or manual copies, are neither read nor removed.
"""

import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from xxhash import xxh3_128_hexdigest

from llm_core.errors import PedigreeError
from llm_core.store import work
from llm_core.store.decisions import Alias, read_decision, write_decision
from llm_core.store.digests import file_digest
from llm_core.store.files import disk_errors, sync_folder, write_atomically
from llm_core.store.lease import Lease, lease
from llm_core.store.manifest import MANIFEST, Artifact, FileRecord, Manifest, Overrule, read_manifest
from llm_core.store.verify import Verifier

_IDENTITY = re.compile("[0-9a-f]{32}")


class Store:
    """The artifacts below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.verifier = Verifier(root / "stamps")

    # --- finding -----------------------------------------------------------------------------------------------------

    def folder(self, kind: str, identity: str) -> Path:
        """The folder of the committed artifact."""
        return self.root / "artifacts" / kind / identity

    def find(self, kind: str, identity: str) -> tuple[Artifact | None, str | None]:
        """(artifact, None) on a hit; (None, the problem) when it is damaged; (None, None) when there is none."""
        folder = self.folder(kind, identity)
        alias = None if folder.exists() else self.alias(kind, identity)
        if alias:
            folder = self.folder(kind, alias.target)
        try:
            manifest = read_manifest(folder)
        except PedigreeError as error:
            return None, str(error)
        if manifest is None:
            return None, None
        if not _in_place(folder, manifest):
            return None, f"{folder} contains {manifest.kind} {manifest.identity}: it was copied there by hand"
        artifact = Artifact(folder, manifest)
        damage = self.verifier.damage(artifact)
        return (None, damage) if damage else (artifact, None)

    def damaged_files(self, artifact: Artifact, full: bool = False) -> dict[str, str]:
        """Path → problem, for the damaged volatile files of an artifact, which nothing may read. The artifact is valid
        without them: they are not part of its content."""
        known = self._quarantined(artifact.manifest)
        return {
            path: known.get(path, problem) for path, problem in self.verifier.volatile_damage(artifact, full).items()
        }

    def quarantine_files(self, artifact: Artifact, problems: Mapping[str, str]) -> list[str]:
        """Move damaged volatile files to quarantine, so that no reader takes them for valid, and record it. Returns the
        paths that were not recorded before."""
        known = self._quarantined(artifact.manifest)
        there = {path for path in problems if (artifact.path / path).exists()}
        new = {path: problem for path, problem in problems.items() if path in there or path not in known}
        if not new or read_manifest(artifact.path) != artifact.manifest:  # or it was rebuilt a moment ago
            return []
        with suppress(OSError):  # on a read-only disk the file stays, and is reported again
            aside = self._aside(artifact.path)
            for path in there:
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                (artifact.path / path).rename(aside / path)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            known |= {path: f"{problem} (put aside on {now})" for path, problem in new.items()}
            write_atomically(self._quarantine_record(artifact.manifest), json.dumps(known, indent=1).encode())
        return list(new)

    def _quarantined(self, manifest: Manifest) -> dict[str, str]:
        try:
            known = json.loads(self._quarantine_record(manifest).read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _quarantine_record(self, manifest: Manifest) -> Path:
        return self.root / "quarantined" / manifest.kind / f"{manifest.identity}.json"

    def artifacts(self, kind: str) -> Iterator[Artifact]:
        """All readable artifacts of a kind, newest first, without manual copies. Files are not verified."""
        found = []
        for path in (self.root / "artifacts" / kind).glob(f"*/{MANIFEST}"):
            try:
                manifest = read_manifest(path.parent)
            except PedigreeError:
                continue  # ``find`` reports it when it is needed
            if manifest is not None and _in_place(path.parent, manifest):
                found.append(Artifact(path.parent, manifest))
        yield from sorted(found, key=lambda artifact: artifact.manifest.started, reverse=True)

    def parts(self, kind: str) -> Path:
        """The folder of the part store of a kind."""
        return self.root / "parts" / kind

    def kinds(self) -> list[str]:
        """The kinds that have artifacts."""
        return sorted(path.name for path in (self.root / "artifacts").glob("*") if path.is_dir())

    # --- building ----------------------------------------------------------------------------------------------------

    def lease(
        self, kind: str, identity: str, waiting: Callable[[str], None] = lambda _: None
    ) -> AbstractContextManager[Lease]:
        """The right to build this artifact."""
        return lease(self.root / "leases", f"{kind}-{identity}", waiting)

    def work(self, kind: str, identity: str, about: dict[str, Any]) -> Path:
        """The work folder of an identity, created if needed. ``about``: more facts for its ``stage.json``."""
        folder = self.root / "work" / kind / identity
        with disk_errors(folder):
            work.begin(folder, {"kind": kind, "identity": identity, **about})
        return folder

    def commit(
        self, place: Path, held: Lease, volatile: tuple[str, ...], manifest: Callable[[list[FileRecord]], Manifest]
    ) -> Artifact:
        """Commit ``out`` of the work folder ``place`` as an artifact: hash and flush its files, write the manifest,
        rename, clean up.

        ``manifest`` is called with the file records. Raises ``PedigreeError`` when the lease is lost, when the disk is
        full, or when ``out`` contains anything but files and folders.
        """
        out = place / "out"
        with disk_errors(out):
            for leftover in (out / MANIFEST, *out.glob(f".{MANIFEST}.*.tmp")):  # of a commit that was killed
                leftover.unlink(missing_ok=True)
            files = [_record(out, path, volatile) for path in _files(out)]
            written = manifest(files)
            folder = self.folder(written.kind, written.identity)
            write_atomically(out / MANIFEST, written.sealed().json_text().encode())
            folder.parent.mkdir(parents=True, exist_ok=True)
            held.check()
            if folder.exists():
                self._quarantine(folder)
            out.rename(folder)
            sync_folder(folder.parent)
            self._quarantine_record(written).unlink(missing_ok=True)
        for record in files:
            path = folder / record.path
            if path.stat().st_mode & 0o777 != 0o444:  # already set for parts; chmod would change their stamps
                path.chmod(0o444)
        work.clear(place)
        artifact = Artifact(folder, written)
        damage = self.verifier.damage(artifact) or next(iter(self.verifier.volatile_damage(artifact).values()), None)
        if damage:
            raise PedigreeError(f"{damage}, though it was written just now; look at the disk, and run again")
        return artifact

    def about(self, kind: str, identity: str) -> dict[str, Any] | None:
        """The note of the unfinished attempt at this artifact. None when there is no such attempt."""
        return work.read(self.root / "work" / kind / identity)

    def has_begun(self, kind: str, identity: str) -> bool:
        """Whether there is an unfinished attempt at this artifact."""
        return self.about(kind, identity) is not None

    def is_rebuilding(self, kind: str, identity: str) -> bool:
        """Whether there is an unfinished attempt to rebuild this existing artifact."""
        place = self.root / "work" / kind / identity
        return work.read(place) is not None and (place / work.AGAIN).exists()

    def start_over(self, kind: str, identity: str, about: dict[str, Any]) -> Path:
        """The work folder for rebuilding an existing artifact: empty, or with the files of an earlier such attempt."""
        place = self.work(kind, identity, about)
        if not (place / work.AGAIN).exists():  # other files there come from the attempt that built the artifact
            with disk_errors(place):
                work.clear(place)
                self.work(kind, identity, about)
                (place / work.AGAIN).touch()
        return place

    def clear_work(self, kind: str, identity: str) -> None:
        """Clear the work folder of an identity whose artifact exists (an attempt was killed after its commit).

        An unfinished attempt to rebuild the artifact stays, so that it can be continued.
        """
        place = self.root / "work" / kind / identity
        if self.has_begun(kind, identity) and not self.is_rebuilding(kind, identity):
            with self.lease(kind, identity), suppress(OSError):
                work.clear(place)

    def _quarantine(self, folder: Path) -> None:
        """Move a damaged artifact to quarantine: people can look at it, and nothing takes it for valid."""
        aside = self._aside(folder)
        aside.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(aside)

    def _aside(self, folder: Path) -> Path:
        return self.root / "quarantine" / folder.parent.name / f"{folder.name}-{time.time_ns()}"

    # --- remembering -------------------------------------------------------------------------------------------------

    def last_identity(self, experiment: str, stage: str) -> str | None:
        """The identity of the experiment's stage when it was last built or hit."""
        try:
            last = json.loads(self._last(experiment, stage).read_bytes())
        except (OSError, ValueError):
            return None
        return str(last["identity"]) if isinstance(last, dict) and "identity" in last else None

    def last(self, experiment: str, kind: str, stage: str) -> tuple[Artifact | None, str | None]:
        """(artifact, None): the last one that this experiment built or hit for this stage; its files are not verified.
        (None, the reason) when its manifest can't be read. (None, None) when it was never built, or is gone."""
        identity = self.last_identity(experiment, stage)
        try:
            manifest = None if identity is None else read_manifest(self.folder(kind, identity))
        except PedigreeError as error:
            return None, str(error)
        return (Artifact(self.folder(kind, manifest.identity), manifest), None) if manifest else (None, None)

    def knows(self, experiment: str) -> bool:
        """Whether any stage of this experiment was ever built or hit."""
        return any((self.root / "last" / experiment).rglob("*.json"))

    def set_last_identity(self, experiment: str, stage: str, identity: str) -> None:
        """Remember the identity, so that a plan can say what has changed since."""
        if self.last_identity(experiment, stage) != identity:
            write_atomically(self._last(experiment, stage), json.dumps({"identity": identity}).encode())

    def _last(self, experiment: str, stage: str) -> Path:
        return self.root / "last" / experiment / f"{stage}.json"

    def alias(self, kind: str, identity: str) -> Alias | None:
        """The accepted alias of an identity. None for a file that was copied from another identity."""
        return read_decision(self._aliases(kind) / f"{identity}.json", Alias, "accept")

    def aliases(self, kind: str) -> list[Alias]:
        """All accepted aliases of a kind."""
        paths = sorted(self._aliases(kind).glob("*.json"))
        return [alias for path in paths if _IDENTITY.fullmatch(path.stem) and (alias := self.alias(kind, path.stem))]

    def accept(self, alias: Alias) -> None:
        """Record the alias."""
        write_decision(self._aliases(alias.kind) / f"{alias.identity}.json", alias)

    def _aliases(self, kind: str) -> Path:
        return self.root / "aliases" / kind

    def overruled(self, kind: str, identity: str) -> Overrule | None:
        """The decision to overrule failed checks of this artifact. None for a file that was copied from another one."""
        return read_decision(self._overrules(kind) / f"{identity}.json", Overrule, "overrule")

    def overrule(self, decision: Overrule) -> None:
        """Record the decision."""
        write_decision(self._overrules(decision.kind) / f"{decision.identity}.json", decision)

    def _overrules(self, kind: str) -> Path:
        return self.root / "overrules" / kind


def _in_place(folder: Path, manifest: Manifest) -> bool:
    """Whether the artifact was committed to this folder, and not copied there."""
    return folder.as_posix().endswith(f"/{manifest.kind}/{manifest.identity}")


def content_digest(files: list[FileRecord], stats: dict[str, Any], volatile_stats: tuple[str, ...]) -> str:
    """One digest over everything that later stages may read: files and statistics, without the volatile ones."""
    lines = [f"{record.xxh3} {record.size} {record.path}" for record in files if not record.volatile]
    lasting = {name: value for name, value in stats.items() if name not in volatile_stats}
    return xxh3_128_hexdigest("\n".join([*sorted(lines), json.dumps(lasting, sort_keys=True)]).encode())


def _files(out: Path) -> list[Path]:
    found = []
    for path in sorted(out.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            found.append(path)
        elif not stat.S_ISDIR(mode):
            raise PedigreeError(f"{path}: an artifact contains files and folders only, no links or devices")
    return found


def _record(out: Path, path: Path, volatile: tuple[str, ...]) -> FileRecord:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    name = path.relative_to(out).as_posix()
    return FileRecord(
        path=name,
        size=path.stat().st_size,
        xxh3=file_digest(path),
        volatile=any(fnmatch(name, pattern) for pattern in volatile),
    )
