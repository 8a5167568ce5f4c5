"""``pedigree why -d``: what became of a document in each data stage, and which runs were trained on it."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from llm_core.chat.history import conversation_history
from llm_core.data.records import document_id
from llm_core.errors import PedigreeError
from llm_core.experiment.tuning import TUNINGS
from llm_core.graph.lineage import SHARDS, Ancestor, TrainingRun, ancestry, by_name, training_runs
from llm_core.tokens.history import FILTERS, RAW, SPLIT, History, NoDocumentError, Station, by_row, by_token, history
from llm_core.tokens.trace import TrainedRange, steps_of_document, trained_documents, training_section
from llm_core.train.metrics_log import METRICS, read_metrics, skipped_steps
from pipelines.session import Session

_COLOURS = {"dropped": "red", "heldout": "cyan", "not known": "red"}


def document_history(session: Session, document: str) -> History:
    """What became of a document, and the steps of all runs in the store that read it.

    ``document``: a ``doc_id`` or its first characters; ``source/origin:row``, its place in its source; ``train@123`` or
    ``heldout@123``, a token of that split. The data stages are those of the experiment's current data. The runs are
    those of all experiments, also on earlier data, and unfinished ones.
    """
    try:
        found = _found(_folders(session), session.experiment.name, document)
    except NoDocumentError as error:
        elsewhere = _conversation(session, document) or _earlier(session, document, str(error))
        if elsewhere is None:
            raise
        found = elsewhere
    runs = [station for run in training_runs(session.store) if (station := _trained(run, found.doc_id)) is not None]
    return replace(found, stations=[*found.stations, *runs])


def _conversation(session: Session, document: str) -> History | None:
    """What the stages of tuning did with a conversation; None if none of them has it."""
    for name in TUNINGS:
        folders = {}
        for kind, stage in (("conversations", f"{name}_conversations"), (SHARDS, f"{name}_shards")):
            identity = session.store.last_identity(session.experiment.name, stage)
            if identity is not None:
                folders[stage] = session.store.folder(kind, identity)
        found = conversation_history(folders, name, document) if f"{name}_conversations" in folders else None
        if found is not None:
            return found
    return None


def _earlier(session: Session, document: str, why: str) -> History | None:
    """The document in any shards of the store, if exactly one fits. ``why``: the data of now do not have it."""
    place, colon, row = document.rpartition(":")
    source, _, origin = place.partition("/")
    start = document_id(source, origin, int(row)) if colon and row.isdecimal() else document
    rows = {
        row["doc_id"]: row
        for artifact in session.store.artifacts(SHARDS)
        for row in _readable_rows(artifact.path, start)
    }
    if len(rows) != 1:
        return None
    (only,) = rows.values()
    not_now = Station(RAW, "not read now", "", {"because": why})
    return History(only["doc_id"], only["source"], only["origin"], only["row"], None, [not_now])


def _readable_rows(shards: Path, start: str) -> list[dict[str, Any]]:
    try:
        return trained_documents(shards, start)
    except (OSError, pl.exceptions.PolarsError):
        return []  # damaged: the plan reports it


def _found(folders: dict[str, Path], experiment: str, document: str) -> History:
    split, at, token = document.rpartition("@")
    place, colon, row = document.rpartition(":")
    if at and token.isdecimal():
        if SHARDS not in folders:
            raise PedigreeError(f"{experiment} has no token shards yet; run `pedigree run --select token_shards` first")
        return history(folders, by_token(folders[SHARDS], split, int(token)))
    if colon and row.isdecimal():
        source, slash, origin = place.partition("/")
        if not slash:
            raise PedigreeError(f"{document!r}: write a place as source/origin:row, as in web/crawl.jsonl.zst:17")
        return history(folders, by_row(folders[RAW], source, origin, int(row)))
    return history(folders, document)


def _trained(run: TrainingRun, doc_id: str) -> Station | None:
    """The steps of a run in which the document's tokens were targets. None if its shards do not contain it."""
    facts = {"experiment": run.experiment, "run": run.identity[:12], "shards": run.shards.name[:12]}
    if run.start is not None:
        facts["continues"] = run.start[:12]
    try:
        if not trained_documents(run.shards, doc_id):
            return None
        training = training_section(run.config["training"])
        seen = steps_of_document(run.shards, doc_id, training, run.config["seed"])
        problem = run.damaged_files.get(METRICS)
        skipped = skipped_steps(run.folder / METRICS) if problem is None else set()
        done = _steps_done(run) if run.unfinished else training.steps
    except (OSError, ValueError, PedigreeError, pl.exceptions.PolarsError) as error:
        reason = str(error) if run.shards.is_dir() else "its shards are no longer in the store"
        return Station(run.stage, "not known", "", {**facts, "because": reason})
    if run.unfinished:
        facts["unfinished, at step"] = str(done)
    if problem is not None:
        facts["skipped steps"] = f"not known: {problem}"
    own = [item for item in seen if run.first_step <= item.step <= done]
    return trained_station(own, skipped, run.stage, facts)


def _steps_done(run: TrainingRun) -> int:
    path = run.folder / METRICS
    return max((line["step"] for line in read_metrics(path)), default=0) if path.exists() else 0


def trained_station(
    seen: Sequence[TrainedRange], skipped: Set[int], stage: str, known: Mapping[str, Any] = MappingProxyType({})
) -> Station:
    """A document in a training run. Its tokens were targets in ``seen``; skipped steps do not count.

    ``known``: other facts of the run.
    """
    learnt = [item for item in seen if item.step not in skipped]
    facts: dict[str, Any] = {**known, "tokens as targets": sum(item.targets for item in learnt)}
    for name, items in (("steps", learnt), ("skipped steps", [item for item in seen if item.step in skipped])):
        if items:
            facts[name] = ", ".join(str(step) for step in dict.fromkeys(item.step for item in items))
    verdict = "trained on" if learnt else "not trained on" if seen else "not reached"
    return Station(stage, verdict, "", facts)


def _folders(session: Session) -> dict[str, Path]:
    """Stage → artifact, of the lineage of the last data stage that was made."""
    for name in (SHARDS, SPLIT, *reversed(FILTERS), RAW):
        if session.store.last_identity(session.experiment.name, name) is not None:
            found: dict[str, Path] = {}
            _collect(ancestry(session.store, by_name(session.store, session.experiment.name, name)), found)
            return found
    raise NoDocumentError(f"{session.experiment.name} has read no documents yet; run `pedigree run` first")


def _collect(item: Ancestor, found: dict[str, Path]) -> None:
    found[item.artifact.manifest.kind] = item.artifact.path
    for below in item.inputs:
        _collect(below, found)


def history_record(found: History) -> dict[str, Any]:
    """As JSON data."""
    return asdict(found)


def history_table(found: History) -> Group:
    """As a table, one line per stage."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("stage", "verdict", "file", "what is known"):
        table.add_column(name, overflow="fold")
    for station in found.stations:
        colour = _COLOURS.get(station.verdict, "green")
        facts = ", ".join(f"{name} {_shown(value)}" for name, value in station.facts.items())
        table.add_row(station.stage, f"[{colour}]{station.verdict}[/]", escape(station.file), escape(facts))
    url = f"\n{found.url}" if found.url else ""
    return Group(Text(f"{found.doc_id}: {found.source}/{found.origin}, row {found.row}{url}", style="bold"), table)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
