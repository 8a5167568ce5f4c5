"""``pedigree funnel``: the documents and bytes that are left after every stage and rule."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from llm_core.errors import PedigreeError
from llm_core.report import facts, read
from llm_core.report.facts import SPLITS, STAGES
from llm_core.report.formatting import exact, in_bytes, percent, words
from llm_core.report.read import RAW
from llm_core.store.manifest import Artifact
from pipelines.session import Session

SHARDS = "token_shards"

Row = dict[str, Any]
"""``stage``, ``kind``, ``name``, ``documents``, ``bytes``, their shares of the raw documents (``documents_share``,
``bytes_share``), and ``tokens``; null where a number does not apply.

Kinds: ``level`` is what is left after a stage; ``drop``, what one rule dropped; ``edit``, the bytes that edits removed
from texts (negative: added); ``tokens``, the tokens of one split; ``missing``, a stage without numbers (its ``name`` is
the reason).
"""


def funnel_rows(session: Session, source: str | None) -> list[Row]:
    """The funnel of all sources or one, by the last artifact of each stage.

    A stage that was made from other documents than the stage before it has no numbers, and the stages after it have
    none either. Raises ``PedigreeError`` for an unknown source, and if no documents were read yet.
    """
    made, missing = _chain(session)
    if RAW not in made:
        raise PedigreeError(f"{session.experiment.name} has read no documents yet; run `pedigree run` first")
    raw = read.raw(made)
    known = [name for name, count in raw.documents_by_source.items() if count]
    if source is not None and source not in known:
        raise PedigreeError(f"{session.experiment.name} has no source {source!r}; known: {', '.join(known)}")
    chosen = known if source is None else [source]
    came = {
        "documents": sum(raw.documents_by_source[name] for name in chosen),
        "bytes": sum(raw.bytes_by_source[name] for name in chosen),
    }
    rows: list[Row] = [{"stage": RAW, "kind": "level", "name": "raw", **came}]
    size = came["bytes"]
    for stage in STAGES:
        if stage in made:
            rows += _stage_rows(stage, made[stage], chosen, size)
            size = rows[-1]["bytes"]
    if SHARDS in made:
        rows += _token_rows(made[SHARDS], chosen)
    rows += [{"stage": stage, "kind": "missing", "name": why} for stage, why in missing.items()]
    return [_with_shares(row, came) for row in rows]


def _chain(session: Session) -> tuple[dict[str, Artifact], dict[str, str]]:
    """(stage → its last artifact, if it was made from the one before; the other stages → why they are missing)."""
    made: dict[str, Artifact] = {}
    missing: dict[str, str] = {}
    before: Artifact | None = None
    for stage in (name for name in (RAW, *STAGES, SHARDS) if name in session.graph):
        artifact, damage = session.store.last(session.experiment.name, session.graph[stage].kind, stage)
        if artifact is None:
            missing[stage] = damage or "not made yet"
        elif missing:
            missing[stage] = "no numbers: the stage before it has none"
        elif before is not None and before.manifest.content not in [item.content for item in artifact.manifest.inputs]:
            missing[stage] = "no numbers: made from other documents than these; `pedigree run` makes it again"
        else:
            made[stage] = before = artifact
    return made, missing


def _stage_rows(stage: str, artifact: Artifact, sources: list[str], before: int) -> Iterator[Row]:
    """What each rule dropped, the busiest first; what edits took out; what is left. ``before``: bytes that came."""
    funnel = facts.flow(artifact)
    left = {
        name: sum(funnel[source][name] for source in sources if source in funnel) for name in ("documents", "bytes")
    }
    drops = facts.drops_by_rule(artifact, sources)
    for rule, total in drops:
        yield {"stage": stage, "kind": "drop", "name": rule, **total}
    edited = before - left["bytes"] - sum(total["bytes"] for _, total in drops)
    if edited:
        yield {"stage": stage, "kind": "edit", "name": "edits", "bytes": edited}
    yield {"stage": stage, "kind": "level", "name": STAGES[stage], **left}


def _token_rows(artifact: Artifact, sources: list[str]) -> Iterator[Row]:
    splits = json.loads((artifact.path / "shards.json").read_bytes())["splits"]
    for split, encoded in splits.items():
        own = [shard for shard in encoded["shards"] if shard["source"] in sources]
        counts = {name: sum(shard[name] for shard in own) for name in ("documents", "tokens")}
        yield {"stage": SHARDS, "kind": "tokens", "name": split, **counts}


def _with_shares(row: Row, came: Mapping[str, int]) -> Row:
    found: Row = {"stage": row["stage"], "kind": row["kind"], "name": row["name"]}
    for name, total in came.items():
        value = row.get(name)
        found[name] = value
        found[f"{name}_share"] = value / total if value is not None and total else None
    return {**found, "tokens": row.get("tokens")}


def funnel_table(experiment: str, source: str | None, rows: list[Row]) -> Table:
    """The rows as a table."""
    title = escape(f"{experiment}, {'all sources' if source is None else source}: shares of the raw documents")
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="bold")
    table.add_column("stage or rule", overflow="fold")
    for name in ("documents", "share", "text", "share", "tokens"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row["kind"] == "missing":
            table.add_row(f"[yellow]{row['stage']}: {escape(row['name'])}[/]")
            continue
        size, tokens = row["bytes"], row["tokens"]
        taken = row["kind"] in ("drop", "edit")
        cells = [
            _count(row["documents"], taken),
            "" if row["documents_share"] is None else percent(row["documents_share"]),
            "" if size is None else f"{_sign(size) if taken else ''}{in_bytes(abs(size))}",
            "" if row["bytes_share"] is None else percent(abs(row["bytes_share"])),
            "" if tokens is None else exact(tokens),
        ]
        table.add_row(_name(row), *cells, style="dim" if taken else "bold")
    return table


def _name(row: Row) -> str:
    if row["kind"] == "edit":
        return f"  text that edits {'removed' if row['bytes'] > 0 else 'added'}"
    if row["kind"] == "tokens":
        return f"{SPLITS.get(row['name'], row['name'])}, tokens"
    return f"  {escape(words(row['name']))}" if row["kind"] == "drop" else f"{row['name']} documents"


def _count(value: int | None, taken: bool) -> str:
    return "" if value is None else f"{'−' if taken else ''}{exact(value)}"


def _sign(taken: int) -> str:
    return "−" if taken > 0 else "+"
