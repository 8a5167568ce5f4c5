"""Parquet files in which a text is not UTF-8."""

import polars as pl
import pytest

from llm_core.data.records import BadRecord
from llm_core.data.sources.files.reader import Files
from llm_core.data.sources.files.spec import FilesSource
from llm_core.errors import PedigreeError
from tests.data.sources.units import made


def broken(path, frame, row_group_size=1000):
    """``frame`` as a file in which every ``#!`` has become two bytes that are not UTF-8."""
    frame.write_parquet(path, compression="uncompressed", statistics=False, row_group_size=row_group_size)
    path.write_bytes(path.read_bytes().replace(b"#!", b"\xff\xfe"))
    with pytest.raises(pl.exceptions.ComputeError, match="invalid UTF-8"):
        pl.read_parquet(path, glob=False)
    return path


def read(path, stats=None, **options):
    found = made(Files(FilesSource(paths=(str(path),), **options)).tasks(10_000), stats)
    return [(r.row, r.reason if isinstance(r, BadRecord) else r.text) for r in found]


def test_a_broken_text_sets_aside_its_row_alone(tmp_path):
    texts: list[str | None] = [f"text {number}" for number in range(5000)]
    texts[3210], texts[3300] = "bad #! one", None
    path = broken(tmp_path / "it's [a].parquet", pl.DataFrame({"text": texts, "n": range(5000)}))
    found = read(tmp_path / "it's [[]a].parquet")
    assert found == [
        (n, "not UTF-8" if n == 3210 else "no text" if text is None else text) for n, text in enumerate(texts)
    ]
    assert path.exists()


def test_with_conditions_templates_and_structs(tmp_path):
    frame = pl.DataFrame(
        {
            "data": [{"text": "one"}, {"text": "two #!"}, {"text": "three"}, {"text": "four"}, {"text": "five"}],
            "title": ["A", "B", "C #!", "D", "E"],
            "unread": ["x", "x", "x", "x #!", "x"],
            "score": [5, 1, 5, 5, 1],
        }
    )
    path = broken(tmp_path / "a.parquet", frame)
    stats: list[dict] = []
    found = read(path, stats, template="{title}: {data.text}", where=("score >= 3",))
    assert found == [(0, "A: one"), (1, "not UTF-8"), (2, "not UTF-8"), (3, "D: four")]
    assert stats[0]["skipped"] == {"where score >= 3": 1}
    assert read(path, text_field="data.text", where=('title != "C"',))[-2:] == [(3, "four"), (4, "five")]


def test_a_broken_text_under_a_condition_sets_aside_its_row(tmp_path):
    frame = pl.DataFrame({"text": ["one", "two", "three"], "lang": ["en", "#!", "de"]})
    path = broken(tmp_path / "a.parquet", frame)
    assert read(path, where=('lang == "en"',)) == [(0, "one"), (1, "not UTF-8")]


def test_its_copy_may_not_unpack_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("llm_core.data.sources.parquet.FREE_EXPANSION", 100_000)
    path = broken(tmp_path / "a.parquet", pl.DataFrame({"text": ["#!", *["x" * 10_000] * 2000]}))
    with pytest.raises(PedigreeError, match=r"a\.parquet: expands too far: it has 20,000,00\d bytes of text"):
        read(path, max_expansion=1)
