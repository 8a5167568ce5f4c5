"""Verifies an artifact's files against its manifest."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from llm_core.store.digests import file_digest, stamp
from llm_core.store.files import write_atomically
from llm_core.store.manifest import MANIFEST, Artifact, FileRecord


def foreign_file(artifact: Artifact) -> Path | None:
    """A file that the manifest does not name, in a folder where it names files with the same suffix."""
    own = {artifact.path / record.path for record in artifact.manifest.files}
    places = {(path.parent, path.suffix) for path in own}
    for folder in sorted({folder for folder, _ in places}):
        for path in sorted(folder.iterdir()):
            known = path in own or path == artifact.path / MANIFEST
            if (folder, path.suffix) in places and not known and not path.name.startswith("."):
                return path
    return None


class Verifier:
    """Compares files to manifests, and remembers the stamps of hashed files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def damage(self, artifact: Artifact, full: bool = False) -> str | None:
        """The problem of the first damaged file that is not volatile. None when there is none.

        Always compares sizes and stamps. Hashes a file when its stamp is new, and every file when ``full``.
        """
        lasting = [record for record in artifact.manifest.files if not record.volatile]
        return next((problem for _, problem in self._problems(artifact, lasting, full)), None)

    def volatile_damage(self, artifact: Artifact, full: bool = False) -> dict[str, str]:
        """Path → problem, for all damaged files that are not part of the artifact's content."""
        volatile = [record for record in artifact.manifest.files if record.volatile]
        return dict(self._problems(artifact, volatile, full)) if volatile else {}

    def _problems(self, artifact: Artifact, records: list[FileRecord], full: bool) -> Iterator[tuple[str, str]]:
        """(path in the artifact, problem). Remembers the valid files when all are checked."""
        known = self._known(artifact)
        seen = dict(known)
        for record in records:
            path = artifact.path / record.path
            if not path.is_file():
                yield record.path, f"{path} is missing"
                continue
            now = stamp(path)
            if now[0] != record.size:
                yield record.path, f"{path} has {now[0]:,} bytes, and was written with {record.size:,}"
            elif (full or known.get(record.path) != now) and file_digest(path) != record.xxh3:
                if seen.pop(record.path, None):  # a later plan must see this damage too
                    self._remember(artifact, seen)
                yield record.path, f"{path} is damaged: its content is not what was written"
            else:
                seen[record.path] = now
        if seen != known:
            self._remember(artifact, seen)

    def _remember(self, artifact: Artifact, seen: dict[str, list[int]]) -> None:
        with suppress(OSError):  # only a cache: on a read-only disk, files are hashed again next time
            write_atomically(self._stamps(artifact), json.dumps(seen).encode())

    def _stamps(self, artifact: Artifact) -> Path:
        return self._folder / artifact.manifest.kind / f"{artifact.manifest.identity}.json"

    def _known(self, artifact: Artifact) -> dict[str, list[int]]:
        try:
            known = json.loads(self._stamps(artifact).read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
