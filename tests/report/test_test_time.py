"""The section about test-time compute says what follows, and only where it follows."""

from pathlib import Path

import pytest

from llm_core.report.sections import test_time as sections
from llm_core.report.sections.test_time import repeated_sampling
from tests.report.conftest import artifact, job_of, run_stats


def told(accuracy: float, *gain: float, k: int = 1) -> dict:
    interval = [accuracy - 0.05, accuracy + 0.05]
    return {
        "k": k,
        "accuracy": accuracy,
        "interval": interval,
        "gain": gain[0],
        "gain_interval": list(gain[1:]) or None,
    }


def section(tmp_path: Path, *gain: float, retrieval: tuple[float, ...] = (0.2, 0.1, 0.3)):
    curve = [told(0.3, -0.01, -0.03, 0.02), told(0.35, *gain, k=8)]
    way = {
        "task": "heldout_words", "way": "plain", "prompt_tokens": 50.0, "greedy_tokens": 2.0, "sample_tokens": 2.5,
        "greedy": told(0.31, 0.0, 0.0, 0.0), "curves": {"majority": curve, "likelihood": curve, "any": curve},
    }  # fmt: skip
    other = {**way, "way": "retrieved", "prompt_tokens": 130.0, "greedy": told(0.5, *retrieval)}
    stats = {
        "samples": 8, "temperature": 0.7, "questions": {"heldout_words": 150}, "left_out": {"heldout_words": 3},
        "with_answer": 1.0, "ways": [way, other],
    }  # fmt: skip
    trained = artifact(tmp_path / "trained", "pretrained_model", run_stats())
    made = artifact(tmp_path / "made", "test_time_compute", stats)
    return repeated_sampling(job_of({"test_time_compute": made, "pretrained_model": trained}, tmp_path))


@pytest.mark.parametrize(
    ("gain", "words", "cost"),
    [
        ((0.04, 0.01, 0.07), "Repeated sampling helps: the most frequent of 8 answers", "4"),  # 18 tokens for 4 points
        ((-0.04, -0.07, -0.01), "Repeated sampling harms", "it costs accuracy"),
        ((0.04, -0.01, 0.07), "Whether repeated sampling helps is undecided", "not decided"),
        ((0.04,), "nothing can be said about others", "not decided"),
        ((0.0,), "No difference on these questions", "not decided"),
    ],
)
def test_what_follows_is_said(tmp_path: Path, monkeypatch, gain, words, cost) -> None:
    if words != "Repeated sampling harms":
        monkeypatch.setattr(sections, "draw", lambda *_: None)  # one picture is enough
    found = section(tmp_path, *gain)
    assert words in found.blocks[0].pieces[0]
    costs = {cells[0].text: [cell.text for cell in cells] for _, cells in found.blocks[3].lines()}
    assert costs["by sampling (8 answers)"][-1] == cost
    assert costs["by retrieval"][1] == "80"
    assert costs["by retrieval"][-1] == "4"
    assert costs["by longer training"][-1] == "not decided"


def test_without_the_stage_there_is_no_section(tmp_path: Path) -> None:
    assert repeated_sampling(job_of({}, tmp_path)) is None
