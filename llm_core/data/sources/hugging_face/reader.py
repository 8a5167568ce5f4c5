"""Reads a dataset on the Hugging Face Hub: the files of one commit that match patterns, up to a budget."""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_64_intdigest, xxh3_128_hexdigest

from llm_core.data.sources.formats import csv_part, jsonl_part, known_format, parquet_part, tsv_part
from llm_core.data.sources.hugging_face.hub import HubDataset, HubFile
from llm_core.data.sources.hugging_face.spec import HuggingFaceSource
from llm_core.data.sources.paths import files_below, guarded
from llm_core.data.sources.reader import Make, SourceReader
from llm_core.data.sources.unit_parts import Limits, check_distinct, unit_name
from llm_core.errors import PedigreeError, UnknownYetError
from llm_core.experiment.sources import ReadingSpec
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.store.digests import source_sha256, stamp

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAMES_SHOWN = 5


def hub_parquet_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of a Parquet file, which is fetched first if it is missing."""
    return parquet_part(_fetched(work), reading, documents_per_part)


def hub_jsonl_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of a JSON lines file, which is fetched first if it is missing."""
    return jsonl_part(_fetched(work), reading, documents_per_part)


def hub_csv_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of a file of comma-separated values, which is fetched first if it is missing."""
    return csv_part(_fetched(work), reading, documents_per_part)


def hub_tsv_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of a file of tab-separated values, which is fetched first if it is missing."""
    return tsv_part(_fetched(work), reading, documents_per_part)


_FORMATS = {
    ".parquet": hub_parquet_part,
    ".jsonl": hub_jsonl_part,
    ".ndjson": hub_jsonl_part,
    ".json": hub_jsonl_part,
    ".csv": hub_csv_part,
    ".tsv": hub_tsv_part,
}


def _fetched(work: PartWork) -> PartWork:
    settings = work.settings
    inputs = {}
    dataset = HubDataset(settings["source"], settings["repo"], settings["revision"])
    for origin, path in work.inputs.items():
        file = HubFile(origin, settings["size"], settings["digest"])
        inputs[origin] = dataset.fetch(file) if path == dataset.local_path(file) or not path.is_file() else path
    return PartWork(work.name, inputs, settings, work.out)


@dataclass(frozen=True)
class _Chosen:
    """A file of the source: its listing, its path on this machine, and its stamp if it is the user's own file."""

    file: HubFile
    path: Path
    stamp: tuple[int, ...] | None = None


class HuggingFace(SourceReader):
    """The files in the order of a hash of their names, so that a budget takes a mix of them."""

    def __init__(self, source: HuggingFaceSource) -> None:
        self._source = source
        self._budget = Limits(source.byte_budget, source.max_documents)

    def source_digests(self) -> dict[str, str]:
        """One digest over the names and contents of all files that match, whether the budget reaches them or not.

        Raises ``UnknownYetError`` if the Hub was not asked yet which files there are.
        """
        lines = "\n".join(f"{chosen.file.digest} {chosen.file.path}" for chosen in self._files(ask=False))
        return {f"{self._source.repo}@{self._source.revision}": xxh3_128_hexdigest(lines.encode())}

    def look_up(self) -> None:
        """Ask the Hub which files there are, unless that is known."""
        if self._source.local_folder is None:
            self._on_hub(ask=True)

    def tasks(self, documents_per_part: int) -> list[PartTask]:
        """A task per file. With a budget, for the first file only: the sizes of its texts decide how many follow."""
        files = self._files()
        if self._budget == Limits():
            return [self._task(file, documents_per_part) for file in files]
        return [self._task(files[0], documents_per_part, self._budget)]

    def chosen(self, documents_per_part: int, make: Make) -> list[PartTask]:
        """The tasks that fill the budget: whole files in order, and the start of the file that would exceed it.

        Files are read in waves. The files before a wave predict how many files it needs; the chosen files do not depend
        on the prediction.
        """
        if self._budget == Limits():
            return self.tasks(documents_per_part)
        rest = _Rest(self._budget)
        waiting = self._files()
        tasks: list[PartTask] = []
        while waiting and not rest.used_up:
            wave, waiting = rest.next_wave(waiting)
            limits = rest.limits if len(wave) == 1 else None
            wave_tasks = [self._task(chosen, documents_per_part, limits) for chosen in wave]
            for chosen, task, part in zip(wave, wave_tasks, make(wave_tasks), strict=True):
                if rest.used_up:
                    break
                if not rest.covers(part.stats):
                    return [*tasks, self._task(chosen, documents_per_part, rest.limits)]
                tasks.append(task)
                if part.stats["cut"]:
                    return tasks
                rest.take(part.stats, chosen.file.size)
        return tasks

    def _task(self, chosen: _Chosen, documents_per_part: int, limits: Limits | None = None) -> PartTask:
        source, file = self._source, chosen.file
        suffix = known_format(file.path)
        assert suffix in _FORMATS
        settings: dict[str, Any] = {
            "source": source.name,
            "repo": source.repo,
            "revision": source.revision,
            "size": file.size,
            "digest": file.digest,
            **({} if limits is None else limits._asdict()),
        }
        inputs = {file.path: InputFile(file.path, chosen.path, file.digest, chosen.stamp)}
        config = {"reading": source.reading(), "documents_per_part": documents_per_part}
        return PartTask(unit_name(source.name, file.path), _FORMATS[suffix], inputs, config, settings)

    def _files(self, ask: bool = True) -> list[_Chosen]:
        found = self._in_folder() if self._source.local_folder is not None else self._on_hub(ask)
        check_distinct([unit_name(self._source.name, chosen.file.path) for chosen in found])
        return sorted(found, key=lambda chosen: (xxh3_64_intdigest(chosen.file.path.encode()), chosen.file.path))

    def _on_hub(self, ask: bool) -> list[_Chosen]:
        source = self._source
        dataset = HubDataset(source.name, source.repo, source.revision)
        if not _COMMIT.fullmatch(source.revision):
            now = dataset.commit_now()
            raise PedigreeError(
                f"source {source.name!r}: revision {source.revision!r} is no commit, and may move. It is now at "
                f"{now}: write revision: {now}"
            )
        known = dataset.files() if ask else dataset.known_files()
        if known is None:
            raise UnknownYetError(
                f"source {source.name!r}: the list of files of {source.repo}@{source.revision[:12]} comes from the Hub "
                "when this runs: nothing is asked or fetched before"
            )
        listed = {file.path: file for file in known}
        return [_Chosen(listed[path], dataset.local_path(listed[path])) for path in self._matching(list(listed))]

    def _in_folder(self) -> list[_Chosen]:
        source = self._source
        if not _COMMIT.fullmatch(source.revision):
            raise PedigreeError(
                f"source {source.name!r}: revision {source.revision!r} is no commit; write the 40 digits of the commit "
                "that local_folder is a copy of"
            )
        folder = Path(str(source.local_folder))
        if not folder.is_dir():
            raise PedigreeError(f"source {source.name!r}: local_folder: there is no folder {folder}")
        paths = {path.relative_to(folder).as_posix(): path for path in files_below(folder, lambda _: True)[0]}
        chosen = []
        for name in self._matching(list(paths)):
            path = paths[name]
            now = tuple(guarded(lambda path: stamp(path.resolve()), path))
            file = HubFile(name, now[0], f"sha256:{guarded(source_sha256, path)}")
            chosen.append(_Chosen(file, path, now))
        return chosen

    def _matching(self, names: list[str]) -> list[str]:
        """The names that match a pattern. Every pattern must match a name, and every match must have a known format."""
        source = self._source
        what = f"source {source.name!r}: {source.local_folder or f'{source.repo}@{source.revision[:12]}'}"
        matching: dict[str, None] = {}
        for pattern in source.files:
            found = [name for name in names if fnmatchcase(name, pattern)]
            if not found:
                some = ", ".join(sorted(names)[:_NAMES_SHOWN])
                raise PedigreeError(f"{what}: no file matches {pattern!r}; there are {len(names)}, such as {some}")
            matching.update(dict.fromkeys(found))
        for name in matching:
            if known_format(name) not in _FORMATS:
                raise PedigreeError(
                    f"{what}: {name} matches, but can't be read. Files on the Hub can be .parquet, and .jsonl, "
                    ".ndjson, .json, .csv and .tsv, these also with .gz, .zst, .xz or .bz2; mend "
                    "the patterns in 'files'"
                )
        return list(matching)


class _Wave(NamedTuple):
    files: list[_Chosen]
    waiting: list[_Chosen]


class _Rest:
    """The rest of a budget, and how much of it the next files will probably take."""

    def __init__(self, budget: Limits) -> None:
        self.limits = budget
        self._stored = self._bytes = self._documents = 0

    @property
    def used_up(self) -> bool:
        """Whether nothing more can be taken."""
        return 0 in self.limits

    def covers(self, stats: dict[str, Any]) -> bool:
        """Whether the rest has room for all documents of a unit."""
        size, count = self.limits
        return (size is None or stats["bytes"] <= size) and (count is None or stats["documents"] <= count)

    def take(self, stats: dict[str, Any], stored: int) -> None:
        """Subtract a unit that was read from a file of ``stored`` bytes."""
        size, count = self.limits
        self.limits = Limits(
            None if size is None else size - stats["bytes"], None if count is None else count - stats["documents"]
        )
        self._stored += stored
        self._bytes += stats["bytes"]
        self._documents += stats["documents"]

    def next_wave(self, waiting: list[_Chosen]) -> _Wave:
        """As many files as fit if they are like the files before; at least one."""
        end, stored = 1, waiting[0].file.size
        while self._stored and end < len(waiting):
            stored += waiting[end].file.size
            share = stored / self._stored
            size, count = self.limits
            if (size is not None and share * self._bytes > size) or (
                count is not None and share * self._documents > count
            ):
                break
            end += 1
        return _Wave(waiting[:end], waiting[end:])
