"""Figures of runs that are short, broken or empty: they must be drawn all the same."""

import warnings

import pytest

from llm_core.report import training_plots
from llm_core.report.facts import Level
from llm_core.report.study_plots import forest
from tests.report.conftest import steps

BROKEN = [{**row, "loss": None, "grad_norm": None, "skipped": True} for row in steps(30)]


@pytest.mark.parametrize(
    "rows", [steps(1), steps(3), BROKEN, steps(30)[:-1] + BROKEN[-1:]], ids=["1", "3", "broken", "end"]
)
def test_every_run_can_be_drawn(rows: list[dict]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (
            training_plots.loss,
            training_plots.learning_rate,
            training_plots.gradient_norm,
            training_plots.throughput,
        ):
            assert make(rows).png


def test_skipped_steps_are_marked() -> None:
    assert "2 skipped" in training_plots.gradient_norm(steps(40, skipped=(7, 31))).svg
    assert "skipped" not in training_plots.gradient_norm(steps(40, skipped=())).svg


def test_a_funnel_of_nothing_is_drawn() -> None:
    assert training_plots.funnel([Level("raw", 0, 0), Level("clean", 0, 0)]).png


def test_an_outlier_among_ideas_is_a_number_and_hides_no_other() -> None:
    ideas = {"small": 0.002, "smaller": -0.001, "alike": 0.0, "outlier": 0.3}
    rows = [
        {"idea": idea, "difference": found, "low": found - 0.001, "high": found + 0.001, "verdict": "worse"}
        for idea, found in ideas.items()
    ]
    assert "+34.99%" in forest(rows, 64, 0.001).svg
    assert "+" not in forest(rows[:3], 64, 0.001).svg
