from pathlib import Path

import polars as pl
import pytest

from llm_core.data.parquet_parts import DOCUMENT
from llm_core.data.records import document_id
from llm_core.errors import PedigreeError
from llm_core.tokens.history import by_row, history
from tests.data.stages import documents, write


def folders(root: Path, dropped_by: str | None) -> dict[str, Path]:
    """Artifacts through which row 1 of two goes, until ``dropped_by`` drops it."""
    frame = documents(["first text", "second  text"])
    made = {"raw_documents": write(root / "raw", frame)}
    clean = frame.with_columns(text=pl.col("text").str.replace_all("  ", " "))
    for stage in ("clean_documents", "unique_documents", "decontaminated_documents"):
        folder = root / stage
        is_second = pl.col("row") == 1
        kept = clean.filter(~is_second) if stage == dropped_by else clean
        drops = clean.filter(is_second) if stage == dropped_by else clean.clear()
        write(folder, kept)
        write(folder, drops.with_columns(rule=pl.lit("a_rule"), value=pl.lit(0.5)), below="dropped")
        made[stage] = folder
        if stage == dropped_by:
            return made
    split = root / "pretraining_documents"
    write(split, clean.filter(pl.col("row") == 0), below="train")
    write(split, clean.filter(pl.col("row") == 1), below="heldout")
    write(split, clean.clear(), below="dropped")
    return {**made, "pretraining_documents": split}


@pytest.mark.parametrize("stage", ["clean_documents", "unique_documents", "decontaminated_documents"])
def test_the_way_ends_where_the_document_is_dropped(stage: str, tmp_path: Path) -> None:
    found = history(folders(tmp_path, stage), document_id("made", "made.jsonl", 1))
    assert found.stations[-1].stage == stage
    assert found.stations[-1].verdict == "dropped"
    assert found.stations[-1].facts["rule"] == "a_rule"
    assert found.stations[-1].file == "dropped/00000.parquet"


def test_what_changed_a_text_is_told(tmp_path: Path) -> None:
    first, second = (
        history(folders(tmp_path / str(row), None), document_id("made", "made.jsonl", row)) for row in (0, 1)
    )
    assert [station.verdict for station in second.stations] == ["read", "kept", "kept", "kept", "heldout"]
    assert [station.facts.get("text") for station in second.stations[1:4]] == ["changed", "unchanged", "unchanged"]
    assert first.stations[1].facts["text"] == "unchanged"
    assert first.stations[-1].verdict == "train"
    assert (second.source, second.origin, second.row) == ("made", "made.jsonl", 1)


def test_a_start_that_several_share_or_none_has_is_an_error(tmp_path: Path) -> None:
    made = folders(tmp_path, None)
    with pytest.raises(PedigreeError, match="start of 2 documents"):
        history(made, "")
    with pytest.raises(PedigreeError, match="start of 0 documents"):
        history(made, "xyz")


def test_a_document_on_both_sides_is_an_error(tmp_path: Path) -> None:
    made = folders(tmp_path, None)
    frame = pl.read_parquet(made["pretraining_documents"] / "heldout/00000.parquet").select(*DOCUMENT)
    write(made["pretraining_documents"], frame, below="train")
    with pytest.raises(PedigreeError, match="stands on 2 sides"):
        history(made, document_id("made", "made.jsonl", 1))


def test_a_place_without_a_document_is_told(tmp_path: Path) -> None:
    raw = folders(tmp_path, None)["raw_documents"]
    assert by_row(raw, "made", "made.jsonl", 1) == document_id("made", "made.jsonl", 1)
    bad = {"source": ["made"], "origin": ["made.jsonl"], "row": [2], "reason": ["empty text"], "excerpt": [" "]}
    write(raw, pl.DataFrame(bad), below="bad_records")
    with pytest.raises(PedigreeError, match=r"made/made\.jsonl:2 was set aside when it was read: empty text"):
        by_row(raw, "made", "made.jsonl", 2)
    with pytest.raises(PedigreeError, match=r"made/made\.jsonl:3: no document stands there; its rows count from 0"):
        by_row(raw, "made", "made.jsonl", 3)
    with pytest.raises(PedigreeError, match=r"other/made\.jsonl:0: no document stands there; origins are written as"):
        by_row(raw, "other", "made.jsonl", 0)
