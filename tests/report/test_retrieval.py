"""The section about retrieval says what follows, and only where it follows."""

import json
from pathlib import Path

import pytest

from llm_core.report.sections.retrieval import retrieval
from tests.report.conftest import HOSTILE, artifact, cells, job_of


def told(value: float, *interval: float) -> dict:
    return {"value": value, "interval": list(interval) or None}


def section(tmp_path: Path, *gain: float):
    scores = {
        task: {"accuracy": told(0.5, 0.4, 0.6), "bits_per_byte": told(2.0, 1.9, 2.1)}
        for task in ("closed_book", "gold_passage", "retrieved")
    }
    gains = {
        task: {"bits_per_byte": told(*gain), "accuracy": told(0.1, 0.0, 0.2)} for task in ("gold_passage", "retrieved")
    }
    stats = {
        "questions": 150, "questions_asked": 200, "too_long": 50, "recall": {"1": told(0.9, 0.85, 0.93)},
        "scores": scores, "gains": gains, "passages_read": 2.5, "overlap_accuracy": 0.8,
        "overlap_accuracy_interval": [0.7, 0.9], "chance": 0.25,
    }  # fmt: skip
    made = artifact(tmp_path / "retrieval_eval", "retrieval_eval", stats)
    line = {"query": HOSTILE, "choices": [" a", " b"], "gold": 1, "read": ["doc:0"]}
    line |= {"closed_book": {"correct": 0}, "retrieved": {"correct": 1}}
    (made.path / "retrieval.jsonl").write_text(json.dumps(line) + "\n")
    return retrieval(job_of({"retrieval_eval": made}, tmp_path))


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ((-0.2, -0.3, -0.1), "Passages help this model: the right words cost 0.200 bits per byte"),
        ((0.2, 0.1, 0.3), "Passages confuse this model"),
        ((-0.2, -0.5, 0.1), "Whether passages help this model is undecided"),
        ((-0.2,), "All questions come from one document"),
    ],
)
def test_the_sentence_follows_from_the_interval(tmp_path: Path, gain: tuple[float, ...], words: str) -> None:
    found = section(tmp_path, *gain)
    assert found.blocks[0].pieces[0].startswith(words)


def test_all_ways_of_answering_are_beside_each_other(tmp_path: Path) -> None:
    rows = cells(section(tmp_path, -0.2, -0.3, -0.1))
    assert [row[0] for row in rows] == [
        "without passages",
        "with the passage that holds the answer",
        "with the passages that the index finds",
        "no model: letters shared with these passages",
    ]
    assert rows[2][-1].startswith("−0.200")


def test_without_the_stage_there_is_no_section(tmp_path: Path) -> None:
    assert retrieval(job_of({}, tmp_path)) is None
