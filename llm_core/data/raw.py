"""Reads the documents of all sources. Records that can't be documents are set aside with their position."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.data.results import RawDocuments
from llm_core.data.sources.unit_parts import OFFENDERS_NAMED
from llm_core.data.sources.unread_files import NAMED, message, summary
from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.sources import RawSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask
from llm_core.graph.stage import Verdict

NOTABLE_BAD_SHARE = 0.001
"""A larger share of bad records fails a check. Above ``RawSpec.max_bad_share`` the stage stops."""


def source_digests(raw: RawSpec) -> dict[str, str]:
    """Name → digest, for all that the sources read from outside the store.

    Raises ``PedigreeError`` when something is missing, and ``UnknownYetError`` when ``look_up`` must run first.
    """
    return {
        f"{source.name}/{name}": digest
        for source in raw.sources
        for name, digest in source.reader().source_digests().items()
    }


def look_up(raw: RawSpec) -> None:
    """Get from the network what ``source_digests`` needs."""
    for source in raw.sources:
        source.reader().look_up()


def parts(inputs: Mapping[str, Sequence[InputFile]], raw: RawSpec) -> list[PartTask]:  # noqa: ARG001
    """A task per unit of every source. Of a source with a budget, only the units that are certainly needed."""
    return [task for source in raw.sources for task in source.reader().tasks(raw.documents_per_part)]


def build(job: Job, raw: RawSpec) -> RawDocuments:
    """Read every source into ``parts/``, and bad records into ``bad_records/``, if there are any.

    Raises ``PedigreeError`` for a source without documents or without a field that is read, and when more than
    ``max_bad_share`` of all records are bad.
    """
    found = {source.name: source.reader().unread_files() for source in raw.sources}
    unread = {name: summary(files) for name, files in found.items() if files}
    for name, files in unread.items():
        job.runtime.log(f"warning: {job.stage}: {message(name, files)}")
    if len(raw.sources) > 1:  # one unit of each source first: a wrong field shows before hours of work
        each = [source.reader().tasks(raw.documents_per_part)[:1] for source in raw.sources]
        job.map([task for first in each for task in first], link=False)
    tasks = [
        task
        for source in raw.sources
        for task in source.reader().chosen(raw.documents_per_part, lambda wave: job.map(wave, link=False))
    ]
    stats = [part.stats for part in job.map(tasks)]
    empty = _empty(stats, tasks)
    for name, files in empty.items():
        job.runtime.log(f"warning: {job.stage}: {_empty_message(name, files)}")
    by_source: dict[str, Counter[str]] = {source.name: Counter() for source in raw.sources}
    reasons: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    for unit, task in zip(stats, tasks, strict=True):
        by_source[unit["source"]].update(
            documents=unit["documents"],
            bytes=unit["bytes"],
            files=len(task.inputs),
            bad=sum(unit["bad"].values()) + sum(unit["expected"].values()),
        )
        for counter, name in ((reasons, "bad"), (expected, "expected"), (skipped, "skipped")):
            counter.update(unit[name])
    total = sum(by_source.values(), Counter())
    _stop_if_bad(raw, total["documents"], reasons, [line for unit in stats for line in unit["offenders"]])
    for name, counts in by_source.items():
        if not counts["documents"]:
            raise PedigreeError(
                f"source {name!r}: has no documents{_other_records(stats, name)}; mend the source or take it out of "
                "raw.sources"
            )
    return RawDocuments(
        documents=total["documents"],
        bytes=total["bytes"],
        documents_by_source={name: counts["documents"] for name, counts in by_source.items()},
        bytes_by_source={name: counts["bytes"] for name, counts in by_source.items()},
        files_by_source={name: counts["files"] for name, counts in by_source.items()},
        bad_by_source={name: counts["bad"] for name, counts in by_source.items()},
        bad_records=reasons.total() + expected.total(),
        bad_records_by_reason=dict(sorted((reasons + expected).items())),
        without_text=expected.total(),
        skipped_by_kind=dict(sorted(skipped.items())),
        unread_files_by_source=unread,
        empty_files_by_source=empty,
    )


def _empty(stats: Sequence[Mapping[str, Any]], tasks: Sequence[PartTask]) -> dict[str, Any]:
    """Source → the number of its files without any record, and the names of the first."""
    names: dict[str, list[str]] = {}
    for unit, task in zip(stats, tasks, strict=True):
        if not any(unit[figure] for figure in ("documents", "bad", "expected", "skipped", "cut")):
            names.setdefault(unit["source"], []).extend(task.inputs)
    return {source: {"files": len(found), "first": sorted(found)[:NAMED]} for source, found in names.items()}


def _empty_message(source: str, empty: Mapping[str, Any]) -> str:
    return f"source {source!r}: {empty['files']} files have no record, such as {', '.join(empty['first'])}"


def _other_records(stats: Sequence[Mapping[str, Any]], source: str) -> str:
    """What became of the records of a source without documents."""
    found: Counter[str] = Counter()
    for unit in stats:
        if unit["source"] == source:
            for name in ("bad", "expected", "skipped"):
                found.update(unit[name])
    counts = ", ".join(f"{reason} ({count})" for reason, count in sorted(found.items()))
    return f", because its records are set aside or skipped: {counts}" if counts else " and no other records"


def _stop_if_bad(raw: RawSpec, good: int, reasons: Counter[str], offenders: list[str]) -> None:
    bad = reasons.total()
    if bad and bad > raw.max_bad_share * (good + bad):
        counts = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
        raise PedigreeError(
            f"raw: {bad} of {good + bad} records are bad; the largest share allowed is {raw.max_bad_share}: {counts}. "
            "Mend the files, or raise raw.max_bad_share to set them aside. The first:\n"
            + "\n".join(f"  {line}" for line in offenders[:OFFENDERS_NAMED])
        )


def not_empty(results: RawDocuments, bounds: ChecksSpec) -> Verdict:
    """Every source gave documents."""
    del bounds
    least, smallest = min((count, source) for source, count in results.documents_by_source.items())
    message = f"{results.documents} documents; the smallest source, {smallest}, has {least}"
    return Verdict(least > 0, message, value=least, bound=1)


def bad_records(results: RawDocuments, bounds: ChecksSpec) -> Verdict:
    """Few records are bad."""
    del bounds
    bad = results.bad_records - results.without_text
    share = bad / (bad + results.documents) if bad else 0.0
    reasons = ", ".join(f"{reason} ({count})" for reason, count in results.bad_records_by_reason.items())
    return Verdict(
        share <= NOTABLE_BAD_SHARE,
        f"{results.bad_records} records are set aside in bad_records/: {reasons}"
        if reasons
        else "no record is set aside",
        value=share,
        bound=NOTABLE_BAD_SHARE,
    )


def unread_files(results: RawDocuments, bounds: ChecksSpec) -> Verdict:
    """Every file in the sources' folders was read."""
    del bounds
    unread = results.unread_files_by_source
    files = sum(found["files"] for found in unread.values())
    text = "; ".join(message(name, found) for name, found in unread.items()) or "every file of the folders was read"
    return Verdict(not files, text, value=files, bound=0)


def empty_files(results: RawDocuments, bounds: ChecksSpec) -> Verdict:
    """No file is empty."""
    del bounds
    empty = results.empty_files_by_source
    files = sum(found["files"] for found in empty.values())
    text = "; ".join(_empty_message(name, found) for name, found in empty.items()) or "every file has a record"
    return Verdict(not files, text, value=files, bound=0)
