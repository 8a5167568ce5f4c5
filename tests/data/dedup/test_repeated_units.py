import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.data import unique
from llm_core.data.cleaning_samples import EDITS, SHOWN
from llm_core.data.dedup.signatures import read_signatures, sign
from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.unit_hashes import unit_hashes
from llm_core.experiment.dedup import DedupSpec, MinHashSpec, RepeatedUnitsSpec
from tests.data.stages import documents, read, run, write

BANNER = "Subscribe to our newsletter and never miss an offer again."
LINES = DedupSpec(repeated_units=RepeatedUnitsSpec(unit="line", min_bytes=20))
PARAGRAPHS = DedupSpec(repeated_units=RepeatedUnitsSpec(min_bytes=20))


@settings(max_examples=70, deadline=None)
@given(st.lists(st.text("a\n \té", max_size=25), max_size=5), st.sampled_from(["\n", "\n\n"]), st.integers(1, 4))
def test_units_are_cut_as_python_cuts_them(texts, separator, least):
    hashes, places, numbers = unit_hashes(*to_texts(pl.Series("text", texts, dtype=pl.String)), len(separator), least)
    expected = [
        (unit.strip(" \t\n"), place, number)
        for place, text in enumerate(texts)
        for number, unit in enumerate(text.split(separator))
        if len(unit.strip(" \t\n").encode()) >= least
    ]
    assert list(zip(places.tolist(), numbers.tolist(), strict=True)) == [found[1:] for found in expected]
    by_hash = dict(zip(hashes.tolist(), (unit for unit, _, _ in expected), strict=True))
    assert [by_hash[value] for value in hashes.tolist()] == [unit for unit, _, _ in expected]
    assert len(by_hash) == len({unit for unit, _, _ in expected})


def texts_of(folder):
    return read(folder / "out" / "parts")["text"].to_list()


@pytest.mark.parametrize(("spec", "separator"), [(LINES, "\n"), (PARAGRAPHS, "\n\n")])
def test_the_first_of_repeated_units_stays(tmp_path, spec, separator):
    first = documents([separator.join(["One story is told here.", BANNER]), separator.join([BANNER, "Short", BANNER])])
    second = documents([separator.join(["Another one is told there.", f"  {BANNER} ", "Short", "Short"])], origin="a")
    stats = run(unique.build, tmp_path / "job", {"documents": write(tmp_path / "d", first, second)}, dedup=spec)
    # "a" comes before "made.jsonl", so its banner is the first.
    assert texts_of(tmp_path / "job") == [
        "One story is told here.",
        "Short",
        separator.join(["Another one is told there.", f"  {BANNER} ", "Short", "Short"]),
    ]
    gone = 3 * len(BANNER) + 3 * len(separator)
    assert stats["repeated_units"] == {"documents": 2, "units": 3, "bytes": gone}
    assert stats["bytes_in"] - stats["bytes"] == gone
    assert stats["dropped"] == 0


@pytest.mark.parametrize(("spec", "separator"), [(LINES, "\n"), (PARAGRAPHS, "\n\n")])
def test_what_goes_is_kept_to_be_looked_at(tmp_path, spec, separator):
    texts = [
        separator.join([f"The story number {number} begins.", BANNER, f"So it ends, {number}."]) for number in range(30)
    ]
    frame = documents([*texts, f"Another text.{separator}{BANNER}", BANNER])
    out = tmp_path / "job" / "out"
    stats = run(
        unique.build, tmp_path / "job", {"documents": write(tmp_path / "d", frame[:20], frame[20:])}, dedup=spec
    )
    rows = [json.loads(line) for line in (out / EDITS).read_text().splitlines()]
    changed = frame.filter(~pl.col("text").is_in([texts[0], BANNER])).sort("doc_id")  # the first one stays as it is
    assert stats["repeated_units"]["documents"] == changed.height
    assert [row["doc_id"] for row in rows] == changed["doc_id"][:SHOWN].to_list()
    for row, text in zip(rows, changed["text"], strict=False):
        assert (row["kind"], row["source"]) == ("repeated_units", "made")
        assert [piece["text"].strip() for piece in row["pieces"]] == text.split(separator)
        assert [piece["change"] for piece in row["pieces"]][:2] == ["", "del"]
    assert not (out / "samples").exists()


def test_within_a_document_the_first_stays(tmp_path):
    clean = write(tmp_path / "d", documents([f"{BANNER}\nmore\n{BANNER}\n{BANNER}"]))
    run(unique.build, tmp_path / "job", {"documents": clean}, dedup=LINES)
    assert texts_of(tmp_path / "job") == [f"{BANNER}\nmore"]


def test_what_is_left_empty_goes_as_it_was(tmp_path):
    frame = documents([f"{BANNER}\nwith a story of its own, and another", f"{BANNER}", "A third text stands apart."])
    stats = run(unique.build, tmp_path / "job", {"documents": write(tmp_path / "d", frame)}, dedup=LINES)
    dropped = read(tmp_path / "job" / "out" / "dropped")
    assert dropped.select("doc_id", "text", "rule", "value").rows() == [
        (frame["doc_id"][1], BANNER, "repeated_units", 1.0)
    ]
    assert stats["dropped_by_rule"] == {"exact_duplicate": 0, "near_duplicate": 0, "repeated_units": 1}
    assert stats["repeated_units"] == {"documents": 0, "units": 0, "bytes": 0}
    assert stats["bytes"] == stats["bytes_in"] - len(BANNER)


def test_dropped_documents_hold_no_first_unit(tmp_path):
    """A duplicate that goes takes nothing from the others with it."""
    words = " ".join(f"word{number}" for number in range(40))
    frame = documents([BANNER, BANNER.upper(), f"{words}\n{BANNER.upper()}"])
    run(unique.build, tmp_path / "job", {"documents": write(tmp_path / "d", frame)}, dedup=LINES)
    assert texts_of(tmp_path / "job") == [BANNER, frame["text"][2]]


def test_signatures_are_those_of_what_is_left(tmp_path):
    words = " ".join(f"word{number}" for number in range(40))
    frame = documents([f"{BANNER}\n{words}", f"{BANNER}\n{words[::-1]}", "Something else altogether, and long."])
    run(unique.build, tmp_path / "job", {"documents": write(tmp_path / "d", frame)}, dedup=LINES)
    out = tmp_path / "job" / "out"
    left = pl.read_parquet(out / "parts" / "00000.parquet")
    assert left["text"].to_list() == [frame["text"][0], words[::-1], frame["text"][2]]
    assert np.array_equal(read_signatures(out / "signatures" / "00000.npy"), sign(left, MinHashSpec()))
