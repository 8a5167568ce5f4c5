import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from llm_core.errors import PedigreeError
from llm_core.report.facts import STAGES
from llm_core.store.manifest import Artifact, InputRecord
from pipelines.funnel import RAW, SHARDS, funnel_rows, funnel_table
from tests.report.conftest import HOSTILE
from tests.report.data_story import story

DATA = tuple(name for name in (RAW, *STAGES, SHARDS) if name != "judged_documents")  # which few experiments have


class Session(SimpleNamespace):
    """As much of a session as the funnel asks for."""

    def __init__(self, made: dict[str, Artifact | str]) -> None:
        def last(_: str, kind: str, stage: str) -> tuple[Artifact | None, str | None]:
            assert kind == stage
            found = made.get(stage)
            return (None, found) if isinstance(found, str) else (found, None)

        graph = {stage: SimpleNamespace(kind=stage) for stage in DATA}
        super().__init__(experiment=SimpleNamespace(name="tiny"), graph=graph, store=SimpleNamespace(last=last))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The stages of a story, each from the one before it."""
    told = story(tmp_path_factory.mktemp("funnel"))
    before: list[InputRecord] = []
    found = {}
    for stage in DATA:
        manifest = told[stage].manifest.model_copy(update={"content": stage, "inputs": before})
        found[stage] = Artifact(told[stage].path, manifest)
        before = [InputRecord(role="documents", stage=stage, identity="i", content=stage)]
    return found


def told(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["name"], row["documents"], row["bytes"], row["tokens"]) for row in rows]


def printed(source: str | None, rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    Console(file=out, width=160, color_system=None).print(funnel_table("tiny", source, rows))
    return out.getvalue()


def test_from_raw_to_tokens(made: dict[str, Any]) -> None:
    rows = funnel_rows(Session(made), None)
    assert told(rows) == [
        ("raw", 40, 41_000, None),
        ("min_words", 5, 5000, None),
        (HOSTILE, 2, 2000, None),
        ("edits", None, 1000, None),
        ("clean", 33, 33_000, None),
        ("near_duplicate", 3, 3000, None),
        ("unique", 30, 30_000, None),
        ("contaminated", 1, 1000, None),
        ("decontaminated", 29, 29_000, None),
        ("split", 29, 29_000, None),
        ("train", 28, None, 9000),
        ("heldout", 1, None, 300),
    ]
    assert [row["documents_share"] for row in rows[:2]] == [1.0, 5 / 40]
    assert rows[4]["bytes_share"] == 33 / 41
    lines = printed(None, rows).splitlines()
    assert lines[0].rstrip() == "tiny, all sources: shares of the raw documents"
    assert lines[3].split() == ["min", "words", "−5", "12.5%", "−5.00", "kB", "12.2%"]
    assert lines[5].split() == ["text", "that", "edits", "removed", "−1.00", "kB", "2.4%"]
    assert lines[-1].split() == ["held-out", "split,", "tokens", "1", "2.5%", "300"]
    assert any("[" not in line and "alert(1)" in line for line in lines)


def test_one_source(made: dict[str, Any]) -> None:
    rows = funnel_rows(Session(made), "gov")
    assert told(rows) == [
        ("raw", 10, 10_000, None),
        (HOSTILE, 2, 2000, None),
        *((name, 8, 8000, None) for name in ("clean", "unique", "decontaminated", "split")),
        ("train", 8, None, 2000),
        ("heldout", 0, None, 0),
    ]
    assert rows[1]["documents_share"] == 0.2
    assert printed("gov", rows).startswith("tiny, gov: ")


def test_an_unknown_source_is_an_error_that_names_those_there_are(made: dict[str, Any]) -> None:
    with pytest.raises(PedigreeError, match="tiny has no source 'wiki'; known: gov, web"):
        funnel_rows(Session(made), "wiki")


def test_what_was_not_made_is_said(made: dict[str, Any]) -> None:
    with pytest.raises(PedigreeError, match="tiny has read no documents yet"):
        funnel_rows(Session({}), None)
    some = {name: made[name] for name in (RAW, "clean_documents", SHARDS)}
    rows = funnel_rows(Session({**some, "unique_documents": "manifest.json is damaged"}), None)
    assert [(row["stage"], row["name"]) for row in rows if row["kind"] == "missing"] == [
        ("unique_documents", "manifest.json is damaged"),
        ("decontaminated_documents", "not made yet"),
        ("pretraining_documents", "not made yet"),
        (SHARDS, "no numbers: the stage before it has none"),
    ]
    assert "unique_documents: manifest.json is damaged" in printed(None, rows)


def test_what_was_made_from_other_documents_is_left_out(made: dict[str, Any]) -> None:
    clean = made["clean_documents"]
    again = Artifact(clean.path, clean.manifest.model_copy(update={"content": "other"}))
    rows = funnel_rows(Session({**made, "clean_documents": again}), None)
    assert rows[4]["name"] == "clean"
    missing = {row["stage"]: row["name"] for row in rows if row["kind"] == "missing"}
    assert list(missing) == ["unique_documents", "decontaminated_documents", "pretraining_documents", SHARDS]
    assert missing["unique_documents"].startswith("no numbers: made from other documents than these")


def test_text_that_edits_put_in(made: dict[str, Any], tmp_path: Path) -> None:
    clean = made["clean_documents"]
    stats = {**clean.stats, "funnel": {**clean.stats["funnel"]}}
    stats["funnel"]["web"] = {**stats["funnel"]["web"], "bytes": 26_500}
    grown = Artifact(tmp_path, clean.manifest.model_copy(update={"stats": stats}))
    rows = funnel_rows(Session({**made, "clean_documents": grown}), "web")
    assert told(rows)[2] == ("edits", None, -500, None)
    assert "text that edits added" in printed("web", rows)
    assert "+500 B" in printed("web", rows)
