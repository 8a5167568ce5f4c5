"""The stages ``instruct_conversations``, ``chat_conversations`` and ``preference_conversations``: conversations from
files on this machine and on the Hub, without eval items.

``parts/NAME.parquet``: one conversation per row (``CONVERSATION``). ``dropped/NAME.parquet``: each record that was
dropped, with the reason, and the suite and item for one that contains an eval item.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from xxhash import xxh3_64_intdigest

from llm_core.chat.conversation import Turn
from llm_core.chat.reading import JSON_LINES, PARQUET, Conversation, Dropped, conversations
from llm_core.chat.results import Conversations
from llm_core.data.decontaminate import index_part
from llm_core.data.eval_index import FILES as INDEX_FILES
from llm_core.data.eval_index import EvalIndex
from llm_core.data.kernels.folding import fold
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.records import document_id
from llm_core.data.sources.formats import known_format
from llm_core.data.sources.hugging_face.files import HubFiles, fetched
from llm_core.data.sources.paths import find_files, guarded
from llm_core.data.sources.unit_parts import check_distinct, unit_name
from llm_core.data.suites import suite_digests
from llm_core.errors import PedigreeError
from llm_core.experiment.dedup import DecontaminationSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.suites import SuiteSpec
from llm_core.experiment.tuning import PERSONA, PersonaSpec, RecordSource
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Verdict
from llm_core.store.digests import source_digest

CONVERSATION: dict[str, Any] = {
    "doc_id": pl.String,
    "source": pl.String,
    "origin": pl.String,
    "row": pl.Int64,
    "roles": pl.List(pl.String),
    "contents": pl.List(pl.String),
    "rejected": pl.String,
}
"""The columns of a conversation. Its identity is that of its place, as that of a document is. ``rejected``: the worse
answer to the same turns, in a source of preferences; else null."""

_DROPPED = {
    "source": pl.String,
    "origin": pl.String,
    "row": pl.Int64,
    "rule": pl.String,
    "excerpt": pl.String,
    "suite": pl.String,
    "item": pl.String,
}
_FORMATS = (*JSON_LINES, *PARQUET)
_CONTAMINATED = "contaminated"
_NAMED = 3
_BETWEEN = "\n\n"

Sources = Sequence[RecordSource]


def source_digests(sources: Sources, suites: Sequence[SuiteSpec], **_: Any) -> dict[str, str]:
    """Name → digest, for all files that are read. Raises ``PedigreeError`` for a missing one, and ``UnknownYetError``
    when ``look_up`` must run first."""
    found: dict[str, str] = {}
    for source in sources:
        hub = _on_hub(source)
        digests = _digests(source) if hub is None else hub.source_digests()
        found |= {f"{source.name}/{name}": digest for name, digest in digests.items()}
    return {**found, **suite_digests(suites)}


def look_up(sources: Sources, **_: Any) -> None:
    """Ask the Hub which files the datasets there have, unless that is known."""
    for source in sources:
        hub = _on_hub(source)
        if hub is not None:
            hub.look_up()


def build(
    job: Job,
    sources: Sources,
    persona: PersonaSpec | None,
    decontamination: DecontaminationSpec,
    suites: Sequence[SuiteSpec],
) -> Conversations:
    """Read the conversations of all sources and the persona's exchanges, and drop those that contain an eval item."""
    read = job.map([task for source in sources for task in _tasks(source)], link=False)
    by_source = {source.name: 0 for source in sources}
    made = job.map(_searches([(part.name, part.folder) for part in read], decontamination, suites, job))
    counts, reasons, found = Counter[str](), Counter[str](), Counter[str]()
    for part, kept in zip(read, made, strict=True):
        by_source[part.stats["source"]] += kept.stats["conversations"]
        counts.update(part.stats["counts"])
        reasons.update(part.stats["reasons"])
        found.update(kept.stats["found"])
        counts["turns"] += kept.stats["turns"]
    if persona is not None:
        frame = exchanges(persona)
        write_part(job.out / "parts" / f"{PERSONA}.parquet", frame)
        by_source[PERSONA] = frame.height
        counts["turns"] += sum(map(len, frame["roles"]))
    return Conversations(
        conversations=sum(by_source.values()),
        records=counts["records"],
        conversations_by_source=by_source,
        turns=counts["turns"],
        dropped=reasons.total(),
        dropped_by_reason=dict(reasons.most_common()),
        offenders=[line for part in read for line in part.stats["offenders"]][:_NAMED],
        skipped=counts["skipped"],
        turns_left_out=counts["left_out"],
        contaminated=found.total(),
        contaminated_by_suite=dict(sorted(found.items())),
    )


def conversations_part(work: PartWork, source: RecordSource) -> dict[str, Any]:
    """Write the conversations and the dropped records of a file, before the search for eval items."""
    ((origin, path),) = work.inputs.items()
    rows: list[tuple[Any, ...]] = []
    dropped: list[tuple[Any, ...]] = []
    counts, reasons = Counter[str](), Counter[str]()
    offenders: list[str] = []
    for record in conversations(path, source):
        identity = document_id(source.name, origin, record.row)
        if source.share < 1 and not hashed_below(identity, source.share):
            continue
        if isinstance(record, Conversation):
            counts.update(records=1, left_out=record.left_out)
            roles, contents = zip(*record.turns, strict=True)
            rows.append((identity, source.name, origin, record.row, list(roles), list(contents), record.rejected))
        elif isinstance(record, Dropped):
            counts["records"] += 1
            reasons[record.reason] += 1
            dropped.append((source.name, origin, record.row, record.reason, record.excerpt, None, None))
            if len(offenders) < _NAMED:
                offenders.append(f"{source.name}/{origin}, row {record.row}: {record.reason}: {record.excerpt}")
        else:
            counts["skipped"] += 1
    write_part(work.out / "read.parquet", pl.DataFrame(rows, schema=CONVERSATION, orient="row"))
    write_part(work.out / "dropped.parquet", pl.DataFrame(dropped, schema=_DROPPED, orient="row"))
    return {"source": source.name, "counts": counts, "reasons": reasons, "offenders": offenders}


def hub_conversations_part(work: PartWork, source: RecordSource) -> dict[str, Any]:
    """The same for a file of a dataset on the Hub, which is fetched first if it is missing."""
    return conversations_part(fetched(work), source)


def search_part(
    work: PartWork,
    decontamination: DecontaminationSpec,
    suites: Sequence[SuiteSpec],
) -> dict[str, Any]:
    """Write ``parts/`` and ``dropped/``: conversations that contain an eval item are dropped. All turns are searched,
    since an eval's question in a prompt is as bad as its answer."""
    frame, dropped = read_part(work.inputs["read"]), read_part(work.inputs["dropped"])
    found: Counter[str] = Counter()
    if suites and frame.height:
        index = EvalIndex.load(work.inputs, decontamination)
        numbers, _, _ = index.find(fold(said_in(frame)))
        holds = pl.Series(numbers >= 0)
        which = index.texts.select("suite", "item")[numbers[numbers >= 0]]
        contaminated = frame.filter(holds).select("source", "origin", "row").hstack(which)
        texts = said_in(frame.filter(holds)).str.slice(0, 100)
        contaminated = contaminated.with_columns(rule=pl.lit(_CONTAMINATED), excerpt=texts).select(*_DROPPED)
        frame, dropped = frame.filter(~holds), pl.concat([dropped, contaminated])
        found.update(which["suite"].to_list())
    write_part(work.out / "parts" / f"{work.name}.parquet", frame)
    write_part(work.out / "dropped" / f"{work.name}.parquet", dropped)
    return {"conversations": frame.height, "turns": int(frame["roles"].list.len().sum()), "found": found}


def said_in(frame: pl.DataFrame) -> pl.Series:
    """All turns of each conversation as one text, with the rejected answer."""
    turns = pl.col("contents").list.join(_BETWEEN)
    return frame.select(pl.concat_str(turns, "rejected", separator=_BETWEEN, ignore_nulls=True).alias("said"))["said"]


def exchanges(persona: PersonaSpec) -> pl.DataFrame:
    """The persona's exchanges as conversations; row 2i is exchange i with the system line, row 2i + 1 without."""
    rows = []
    for number, exchange in enumerate(persona.exchanges):
        asked = [Turn("user", exchange.user.strip()), Turn("assistant", exchange.assistant.strip())]
        for row, turns in enumerate(([Turn("system", persona.system), *asked], asked), start=2 * number):
            identity = document_id(PERSONA, PERSONA, row)
            said = [turn.role for turn in turns], [turn.content for turn in turns]
            rows.append((identity, PERSONA, PERSONA, row, *said, None))
    return pl.DataFrame(rows, schema=CONVERSATION, orient="row")


def sides(frame: pl.DataFrame) -> pl.DataFrame:
    """Every pair as two conversations, one after the other: with the chosen answer, and with the rejected one."""
    before = pl.col("contents").list.slice(0, pl.col("contents").list.len() - 1)
    chosen = frame.with_row_index("number")
    rejected = chosen.with_columns(contents=pl.concat_list(before, "rejected"))
    return pl.concat([chosen, rejected]).sort("number", maintain_order=True).drop("number")


def turns_of(frame: pl.DataFrame) -> Iterator[list[Turn]]:
    """The turns of every row."""
    for roles, contents in frame.select("roles", "contents").iter_rows():
        yield [Turn(*turn) for turn in zip(roles, contents, strict=True)]


def hashed_below(identity: str, share: float) -> bool:
    """Whether a hash of ``identity``, uniform in [0, 1), is below ``share``."""
    return xxh3_64_intdigest(identity.encode()) < share * 2.0**64


def _on_hub(source: RecordSource) -> HubFiles | None:
    if source.repo is None or source.revision is None:
        return None
    return HubFiles(source.name, source.repo, source.revision, source.files, source.local_folder, _FORMATS)


def _files(source: RecordSource) -> dict[str, Path]:
    found = find_files(source.name, source.paths, lambda name: known_format(name) in _FORMATS).files
    for path in found.values():
        if known_format(path.name) not in _FORMATS:
            raise PedigreeError(
                f"source {source.name!r}: {path}: conversations are read from jsonl files (also compressed) and from "
                "parquet; convert it, or take it out of the source"
            )
    return found


def _digests(source: RecordSource) -> dict[str, str]:
    return {origin: guarded(source_digest, path) for origin, path in _files(source).items()}


def _tasks(source: RecordSource) -> list[PartTask]:
    hub, config = _on_hub(source), {"source": source.reading()}
    tasks = []
    if hub is None:
        for origin, path in _files(source).items():
            file = {origin: InputFile.outside(origin, path)}
            tasks.append(PartTask(unit_name(source.name, origin), conversations_part, file, config))
    else:
        for chosen in hub.chosen():
            origin = chosen.file.path
            name, settings = unit_name(source.name, origin), hub.settings(chosen)
            tasks.append(PartTask(name, hub_conversations_part, {origin: chosen.input}, config, settings))
    check_distinct([task.name for task in tasks])
    return tasks


def _searches(
    read: Sequence[tuple[str, Path]], decontamination: DecontaminationSpec, suites: Sequence[SuiteSpec], job: Job
) -> list[PartTask]:
    shared = {}
    if suites:
        # The very index of the pretraining documents, if that is in the store.
        files = {f"suite {one.name}": InputFile.outside(one.name, Path(one.path).expanduser()) for one in suites}
        config = {"decontamination": decontamination, "suites": suites}
        (index,) = job.map([PartTask("index", index_part, files, config)], link=False)
        shared = {name: _stored(index.folder / file) for name, file in INDEX_FILES.items()}
    return [
        PartTask(
            name,
            search_part,
            {"read": _stored(folder / "read.parquet"), "dropped": _stored(folder / "dropped.parquet"), **shared},
            {"decontamination": decontamination, "suites": suites},
        )
        for name, folder in read
    ]


def _stored(path: Path) -> InputFile:
    return InputFile(path.name, path, source_digest(path))


def any_from_every_source(results: Conversations, bounds: ChecksSpec) -> Verdict:
    """Every source gave conversations."""
    del bounds
    least, smallest = min((count, source) for source, count in results.conversations_by_source.items())
    message = f"{results.conversations} conversations; the smallest source, {smallest}, has {least}"
    return Verdict(least > 0, message, value=least, bound=1)


def dropped_share(results: Conversations, bounds: ChecksSpec) -> Verdict:
    """Few records are dropped for a fault."""
    share = results.dropped / results.records if results.records else 0.0
    reasons = ", ".join(f"{reason} ({count})" for reason, count in results.dropped_by_reason.items())
    first = f"; the first: {results.offenders[0]}" if results.offenders else ""
    return Verdict(
        share <= bounds.max_dropped_conversations,
        f"{results.dropped} of {results.records} records are no conversation: {reasons}{first}"
        if results.dropped
        else "every record is a conversation",
        value=share,
        bound=bounds.max_dropped_conversations,
    )


def contaminated_share(results: Conversations, bounds: ChecksSpec) -> Verdict:
    """Few conversations contain an eval item."""
    before = results.conversations + results.contaminated
    share = results.contaminated / before if before else 0.0
    return Verdict(
        share <= bounds.max_contaminated_share,
        f"{results.contaminated} of {before} conversations contain an eval item, and are dropped",
        value=share,
        bound=bounds.max_contaminated_share,
    )
