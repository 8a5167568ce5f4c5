"""Reads a dataset on the Hugging Face Hub: the files of one commit that match patterns, up to a budget."""

from typing import Any, NamedTuple

from llm_core.data.sources.formats import csv_part, jsonl_part, known_format, parquet_part, tsv_part
from llm_core.data.sources.hugging_face.files import ChosenFile, HubFiles, fetched
from llm_core.data.sources.hugging_face.spec import HuggingFaceSource
from llm_core.data.sources.reader import Make, SourceReader
from llm_core.data.sources.unit_parts import Limits, check_distinct, unit_name
from llm_core.experiment.sources import ReadingSpec
from llm_core.graph.part import PartTask, PartWork


def hub_parquet_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of a Parquet file, which is fetched first if it is missing."""
    return parquet_part(fetched(work), reading, documents_per_part)


def hub_jsonl_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of a JSON lines file, which is fetched first if it is missing."""
    return jsonl_part(fetched(work), reading, documents_per_part)


def hub_csv_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of a file of comma-separated values, which is fetched first if it is missing."""
    return csv_part(fetched(work), reading, documents_per_part)


def hub_tsv_part(work: PartWork, reading: ReadingSpec, documents_per_part: int) -> dict[str, Any]:
    """Write the parts of a file of tab-separated values, which is fetched first if it is missing."""
    return tsv_part(fetched(work), reading, documents_per_part)


_FORMATS = {
    ".parquet": hub_parquet_part,
    ".jsonl": hub_jsonl_part,
    ".ndjson": hub_jsonl_part,
    ".json": hub_jsonl_part,
    ".csv": hub_csv_part,
    ".tsv": hub_tsv_part,
}


class HuggingFace(SourceReader):
    """The files in the order of a hash of their names, so that a budget takes a mix of them."""

    def __init__(self, source: HuggingFaceSource) -> None:
        self._source = source
        self._budget = Limits(source.byte_budget, source.max_documents)
        self._hub = HubFiles(
            source.name, source.repo, source.revision, source.files, source.local_folder, tuple(_FORMATS)
        )

    def source_digests(self) -> dict[str, str]:
        """One digest over the names and contents of all files that match, whether the budget reaches them or not.

        Raises ``UnknownYetError`` if the Hub was not asked yet which files there are.
        """
        return self._hub.source_digests()

    def look_up(self) -> None:
        """Ask the Hub which files there are, unless that is known."""
        self._hub.look_up()

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

    def _task(self, chosen: ChosenFile, documents_per_part: int, limits: Limits | None = None) -> PartTask:
        source = self._source
        suffix = known_format(chosen.file.path)
        assert suffix in _FORMATS
        settings = {**self._hub.settings(chosen), **({} if limits is None else limits._asdict())}
        config = {"reading": source.reading(), "documents_per_part": documents_per_part}
        name = unit_name(source.name, chosen.file.path)
        return PartTask(name, _FORMATS[suffix], {chosen.file.path: chosen.input}, config, settings)

    def _files(self) -> list[ChosenFile]:
        found = self._hub.chosen()
        check_distinct([unit_name(self._source.name, chosen.file.path) for chosen in found])
        return found


class _Wave(NamedTuple):
    files: list[ChosenFile]
    waiting: list[ChosenFile]


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

    def next_wave(self, waiting: list[ChosenFile]) -> _Wave:
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
