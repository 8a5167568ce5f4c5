from pathlib import Path

import polars as pl
import pytest

from llm_core.errors import PedigreeError
from llm_core.evals.documents import sample


def write(folder: Path, count: int) -> Path:
    folder.mkdir()
    frame = pl.DataFrame({"doc_id": [f"d{i}" for i in range(count)], "text": ["x" * i for i in range(count)]})
    for part, piece in enumerate(frame.iter_slices(max(1, count // 3 + 1))):
        piece.write_parquet(folder / f"{part:05d}.parquet")
    return folder


def test_sample_is_a_function_of_the_seed_and_stable_under_growth(tmp_path: Path) -> None:
    small, large = write(tmp_path / "small", 90), write(tmp_path / "large", 100)
    first = sample(small, 30, 1, "heldout")
    assert first == sample(small, 30, 1, "heldout")
    assert first != sample(small, 30, 2, "heldout")
    assert first != sample(small, 30, 1, "continuation")
    kept = {document.doc_id for document in first} & {d.doc_id for d in sample(large, 30, 1, "heldout")}
    assert len(kept) >= 22
    assert all(document.text == "x" * int(document.doc_id[1:]) for document in first)


def test_short_documents_are_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "parts", 50)
    assert {len(d.text) for d in sample(folder, 100, 0, "heldout", min_characters=45)} == set(range(45, 50))


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match="at least 99 characters"):
        sample(write(tmp_path / "parts", 20), 10, 0, "heldout", min_characters=99)
