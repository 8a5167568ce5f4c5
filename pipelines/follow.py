"""``pedigree why`` for a document: its way through the data stages, as a table or as JSON data."""

from collections.abc import Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from llm_core.errors import PedigreeError
from llm_core.graph.lineage import Ancestor, ancestry, by_name, training_run
from llm_core.tokens.history import FILTERS, RAW, SHARDS, SPLIT, History, Station, by_row, by_token, history
from llm_core.tokens.trace import TrainedRange, steps_of_document, training_section
from llm_core.train.metrics import METRICS, skipped_steps
from pipelines.session import Session

RUN = "pretrained_model"

_COLOURS = {"dropped": "red", "heldout": "cyan"}


def document_history(session: Session, document: str) -> History:
    """The way of the document that ``document`` names, on to the steps of the full run if there is one.

    One of: an identity or its start; ``source/origin:row``, where it stands in its source; ``train@123`` or
    ``heldout@123``, a token of that split's stream.
    """
    folders = _folders(session)
    found = _found(folders, session.experiment.name, document)
    last = found.stations[-1]
    if last.stage == SHARDS and last.file.startswith("train/"):
        return replace(found, stations=[*found.stations, *_trained(session, folders[SHARDS], found.doc_id)])
    return found


def _found(folders: dict[str, Path], experiment: str, document: str) -> History:
    split, at, token = document.rpartition("@")
    place, colon, row = document.rpartition(":")
    if at and token.isdecimal():
        if SHARDS not in folders:
            raise PedigreeError(f"{experiment} has no token shards yet; make them first")
        return history(folders, by_token(folders[SHARDS], split, int(token)))
    if colon and row.isdecimal():
        source, slash, origin = place.partition("/")
        if not slash:
            raise PedigreeError(f"{document!r}: a place is written source/origin:row, as in web/crawl.jsonl.zst:17")
        return history(folders, by_row(folders[RAW], source, origin, int(row)))
    return history(folders, document)


def _trained(session: Session, shards: Path, doc_id: str) -> list[Station]:
    """Where the full run, if there is one on these shards, had the document's tokens as targets."""
    if session.store.head(session.experiment.name, RUN) is None:
        return []
    run = training_run(session.store, session.experiment.name, RUN)
    if run.shards != shards:
        return []
    seen = steps_of_document(shards, doc_id, training_section(run.config["training"]), run.config["seed"])
    if METRICS in run.left_out:
        return [trained_station(seen, None, run.left_out[METRICS])]
    return [trained_station(seen, skipped_steps(run.folder / METRICS))]


def trained_station(seen: Sequence[TrainedRange], skipped: Set[int] | None, problem: str = "") -> Station:
    """What training made of a document whose tokens were targets in ``seen``; skipped steps taught nothing.

    ``skipped`` is None where nobody knows them any more: ``problem`` says why.
    """
    if skipped is None:
        station = trained_station(seen, set())
        return replace(station, facts={**station.facts, "skipped steps": f"not known: {problem}"})
    learnt = [item for item in seen if item.step not in skipped]
    facts: dict[str, Any] = {"times a target": sum(item.tokens for item in learnt)}
    for name, items in (("steps", learnt), ("skipped steps", [item for item in seen if item.step in skipped])):
        if items:
            facts[name] = ", ".join(str(step) for step in dict.fromkeys(item.step for item in items))
    verdict = "trained on" if learnt else "not trained on" if seen else "not come to"
    return Station(RUN, verdict, "", facts)


def _folders(session: Session) -> dict[str, Path]:
    """Stage → artifact, all of one lineage: that of the last data stage that was made."""
    for name in (SHARDS, SPLIT, *reversed(FILTERS), RAW):
        if session.store.head(session.experiment.name, name) is not None:
            found: dict[str, Path] = {}
            _collect(ancestry(session.store, by_name(session.store, session.experiment.name, name)), found)
            return found
    raise PedigreeError(f"{session.experiment.name} has read no documents yet; run `pedigree run` first")


def _collect(item: Ancestor, found: dict[str, Path]) -> None:
    found[item.artifact.manifest.kind] = item.artifact.path
    for below in item.inputs:
        _collect(below, found)


def history_record(found: History) -> dict[str, Any]:
    """As JSON data."""
    return asdict(found)


def history_table(found: History) -> Group:
    """As a table, one line for every stage."""
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
