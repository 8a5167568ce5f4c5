"""Reads a source of local files, file by file."""

from functools import partial
from pathlib import Path

from xxhash import xxh3_64_intdigest

from llm_core.data.sources.files.spec import FilesSource
from llm_core.data.sources.formats import FORMATS, ONE_DOCUMENT, WITH_FIELDS, format_of, known_format
from llm_core.data.sources.paths import Found, find_files, guarded, printable
from llm_core.data.sources.reader import SourceReader
from llm_core.data.sources.unit_parts import check_distinct, unit_name
from llm_core.errors import PedigreeError
from llm_core.graph.part import InputFile, PartTask
from llm_core.store.digests import source_digest

_SINGLE = 256
"""If a source has more files of one document each, they are read in groups."""

_GROUP_BYTES = 16 << 20


class Files(SourceReader):
    """The files that match the patterns of a ``files`` source, in the order of their names."""

    def __init__(self, source: FilesSource) -> None:
        self._source = source

    def source_digests(self) -> dict[str, str]:
        """File name, relative to the fixed folder of its pattern → digest of its content."""
        return {origin: guarded(source_digest, path) for origin, path in self._files().items()}

    def tasks(self, documents_per_part: int) -> list[PartTask]:
        """A task for every file; small files of one document each are grouped by a hash of their names."""
        config = {"reading": self._source.reading(), "documents_per_part": documents_per_part}
        name = self._source.name
        tasks = []
        groups: dict[str, dict[str, Path]] = {}
        for origin, path in self._files().items():
            suffix = format_of(path)
            if suffix in ONE_DOCUMENT:
                groups.setdefault(suffix, {})[origin] = path
            else:
                tasks.append(PartTask(unit_name(name, origin), FORMATS[suffix], _inputs({origin: path}), config))
        for suffix, paths in groups.items():
            for unit, files in _grouped(name, suffix, paths).items():
                tasks.append(PartTask(unit, FORMATS[suffix], _inputs(files), config))
        tasks.sort(key=lambda task: min(task.inputs))
        check_distinct([task.name for task in tasks])
        return tasks

    def unread_files(self) -> list[str]:
        """The unread files in the source's folders, by the origins that they would have."""
        return self._found().unread

    def _files(self) -> dict[str, Path]:
        found = self._found().files
        reading = self._source
        for path in found.values():
            suffix = format_of(path)
            if suffix not in WITH_FIELDS and (reading.where or reading.template is not None):
                option = "where" if reading.where else "template"
                raise PedigreeError(
                    f"{printable(path)}: its records have no fields, so {option!r} of source {reading.name!r} can't be "
                    "applied; give such files a source of their own"
                )
        return found

    def _found(self) -> Found:
        return find_files(self._source.name, self._source.paths, lambda name: known_format(name) is not None)


def _inputs(files: dict[str, Path]) -> dict[str, InputFile]:
    return {origin: guarded(partial(InputFile.outside, origin), path) for origin, path in files.items()}


def _grouped(source: str, suffix: str, files: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """Unit → files. The number of groups is a power of two, so that it rarely changes while the source grows."""
    if len(files) <= _SINGLE:
        return {unit_name(source, origin): {origin: path} for origin, path in files.items()}
    total = sum(guarded(Path.stat, path).st_size for path in files.values())
    count = 1
    while count * _GROUP_BYTES < total:
        count *= 2
    groups: dict[str, dict[str, Path]] = {}
    for origin, path in files.items():
        group = xxh3_64_intdigest(origin.encode()) % count
        groups.setdefault(unit_name(source, f"{group} of {count} *{suffix}"), {})[origin] = path
    return groups
