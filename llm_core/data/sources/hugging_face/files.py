"""The files of a source on the Hugging Face Hub: those of one commit that match patterns, there or in a local copy."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from llm_core.data.sources.formats import known_format
from llm_core.data.sources.hugging_face.hub import HubDataset, HubFile
from llm_core.data.sources.paths import files_below, guarded
from llm_core.errors import PedigreeError, UnknownYetError
from llm_core.graph.part import InputFile, PartWork
from llm_core.store.digests import source_sha256, stamp

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAMES_SHOWN = 5


@dataclass(frozen=True)
class ChosenFile:
    """A file of the source: its listing, its path on this machine, and its stamp if it is the user's own file."""

    file: HubFile
    path: Path
    stamp: tuple[int, ...] | None = None

    @property
    def input(self) -> InputFile:
        """The file as the input of a part. ``fetched`` makes it be there."""
        return InputFile(self.file.path, self.path, self.file.digest, self.stamp)


@dataclass(frozen=True)
class HubFiles:
    """The files of the dataset ``repo`` at ``revision`` that match ``patterns``, for the source called ``source``.

    ``local_folder``: a copy of the dataset, so that the Hub is not asked. ``formats``: the suffixes that can be read.
    """

    source: str
    repo: str
    revision: str
    patterns: tuple[str, ...]
    local_folder: str | None
    formats: Collection[str]

    def source_digests(self) -> dict[str, str]:
        """One digest over the names and contents of all files that match.

        Raises ``UnknownYetError`` if the Hub was not asked yet which files there are.
        """
        lines = "\n".join(f"{chosen.file.digest} {chosen.file.path}" for chosen in self.chosen(ask=False))
        return {f"{self.repo}@{self.revision}": xxh3_128_hexdigest(lines.encode())}

    def look_up(self) -> None:
        """Ask the Hub which files there are, unless that is known."""
        if self.local_folder is None:
            self._on_hub(ask=True)

    def chosen(self, ask: bool = True) -> list[ChosenFile]:
        """The files in the order of a hash of their names. Raises ``PedigreeError`` for a pattern without a match and
        for a file of another format, and ``UnknownYetError`` if the Hub would have to be asked."""
        found = self._in_folder(self.local_folder) if self.local_folder is not None else self._on_hub(ask)
        return sorted(found, key=lambda chosen: (xxh3_64_intdigest(chosen.file.path.encode()), chosen.file.path))

    def settings(self, chosen: ChosenFile) -> dict[str, Any]:
        """The settings of a part that reads the file; ``fetched`` needs them."""
        return {
            "source": self.source,
            "repo": self.repo,
            "revision": self.revision,
            "size": chosen.file.size,
            "digest": chosen.file.digest,
        }

    def _on_hub(self, ask: bool) -> list[ChosenFile]:
        dataset = HubDataset(self.source, self.repo, self.revision)
        if not _COMMIT.fullmatch(self.revision):
            now = dataset.commit_now()
            raise PedigreeError(
                f"source {self.source!r}: revision {self.revision!r} is no commit, and may move. It is now at "
                f"{now}: write revision: {now}"
            )
        known = dataset.files() if ask else dataset.known_files()
        if known is None:
            raise UnknownYetError(
                f"source {self.source!r}: the list of files of {self.repo}@{self.revision[:12]} comes from the Hub "
                "when this runs: nothing is asked or fetched before"
            )
        listed = {file.path: file for file in known}
        return [ChosenFile(listed[path], dataset.local_path(listed[path])) for path in self._matching(list(listed))]

    def _in_folder(self, local_folder: str) -> list[ChosenFile]:
        if not _COMMIT.fullmatch(self.revision):
            raise PedigreeError(
                f"source {self.source!r}: revision {self.revision!r} is no commit; write the 40 digits of the commit "
                "that local_folder is a copy of"
            )
        folder = Path(local_folder)
        if not folder.is_dir():
            raise PedigreeError(f"source {self.source!r}: local_folder: there is no folder {folder}")
        paths = {path.relative_to(folder).as_posix(): path for path in files_below(folder, lambda _: True)[0]}
        chosen = []
        for name in self._matching(list(paths)):
            path = paths[name]
            now = tuple(guarded(lambda path: stamp(path.resolve()), path))
            file = HubFile(name, now[0], f"sha256:{guarded(source_sha256, path)}")
            chosen.append(ChosenFile(file, path, now))
        return chosen

    def _matching(self, names: list[str]) -> list[str]:
        """The names that match a pattern. Every pattern must match a name, and every match must have a known format."""
        what = f"source {self.source!r}: {self.local_folder or f'{self.repo}@{self.revision[:12]}'}"
        matching: dict[str, None] = {}
        for pattern in self.patterns:
            found = [name for name in names if fnmatchcase(name, pattern)]
            if not found:
                some = ", ".join(sorted(names)[:_NAMES_SHOWN])
                raise PedigreeError(f"{what}: no file matches {pattern!r}; there are {len(names)}, such as {some}")
            matching.update(dict.fromkeys(found))
        for name in matching:
            if known_format(name) not in self.formats:
                raise PedigreeError(
                    f"{what}: {name} matches, but can't be read. Files of this source can be "
                    f"{', '.join(self.formats)}; all but .parquet also with .gz, .zst, .xz or .bz2; mend the patterns "
                    "in 'files'"
                )
        return list(matching)


def fetched(work: PartWork) -> PartWork:
    """The work of a part with ``HubFiles.settings``, with its file on this machine."""
    settings = work.settings
    inputs = {}
    dataset = HubDataset(settings["source"], settings["repo"], settings["revision"])
    for origin, path in work.inputs.items():
        file = HubFile(origin, settings["size"], settings["digest"])
        inputs[origin] = dataset.fetch(file) if path == dataset.local_path(file) or not path.is_file() else path
    return PartWork(work.name, inputs, settings, work.out)
