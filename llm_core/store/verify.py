"""Whether an artifact's files are still what its manifest says."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from llm_core.store.digests import file_digest, stamp
from llm_core.store.files import write_atomically
from llm_core.store.manifest import MANIFEST, Artifact, FileRecord


def foreign_file(artifact: Artifact) -> Path | None:
    """A file in the artifact's folder that its manifest does not name, beside files of the same sort that it does."""
    own = {artifact.path / record.path for record in artifact.manifest.files}
    places = {(path.parent, path.suffix) for path in own}
    for folder in sorted({folder for folder, _ in places}):
        for path in sorted(folder.iterdir()):
            known = path in own or path == artifact.path / MANIFEST
            if (folder, path.suffix) in places and not known and not path.name.startswith("."):
                return path
    return None


class Verifier:
    """Compares files to manifests, and remembers in ``folder`` which ones it has hashed, by their stamps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def damage(self, artifact: Artifact, full: bool = False) -> str | None:
        """What is wrong with the first damaged file that the artifact can't do without; None when those are whole.

        Sizes and stamps are looked at always; content is hashed where a stamp is new, and everywhere when ``full``.
        """
        lasting = [record for record in artifact.manifest.files if not record.volatile]
        return next((problem for _, problem in self._problems(artifact, lasting, full)), None)

    def volatile_damage(self, artifact: Artifact, full: bool = False) -> dict[str, str]:
        """Path → what is wrong, of all damaged files that are no part of the artifact's content."""
        volatile = [record for record in artifact.manifest.files if record.volatile]
        return dict(self._problems(artifact, volatile, full)) if volatile else {}

    def _problems(self, artifact: Artifact, records: list[FileRecord], full: bool) -> Iterator[tuple[str, str]]:
        """(path in the artifact, what is wrong with it). What was found whole is remembered when all were looked at."""
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
                if seen.pop(record.path, None):  # a plan must see what was found here
                    self._remember(artifact, seen)
                yield record.path, f"{path} is damaged: its content is not what was written"
            else:
                seen[record.path] = now
        if seen != known:
            self._remember(artifact, seen)

    def _remember(self, artifact: Artifact, seen: dict[str, list[int]]) -> None:
        with suppress(OSError):  # a memory only: on a disk that can't be written, files are hashed again next time
            write_atomically(self._stamps(artifact), json.dumps(seen).encode())

    def _stamps(self, artifact: Artifact) -> Path:
        return self._folder / artifact.manifest.kind / f"{artifact.manifest.identity}.json"

    def _known(self, artifact: Artifact) -> dict[str, list[int]]:
        try:
            known = json.loads(self._stamps(artifact).read_bytes())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}
