"""Scores of tasks from the lines of their items."""

import math

import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.evals.scores import accuracy, bits_per_byte, interval, item_line, row, task_rows
from llm_core.intervals import Estimate, wilson

ANSWERS = {"task": "quiz", "row": 0, "right": 1.0, "right_per_byte": 0.0, "bits": 6.0, "choice_bits": [9.0, 6.0, 8.5]}


def test_what_is_kept_of_an_item() -> None:
    assert item_line(ANSWERS, "7", "animals", 3, 1, 4) == {
        "task": "quiz", "item_id": "7", "cluster": "animals", "choices": 3, "gold": 1, "correct": 1,
        "correct_per_byte": 0, "choice_bits": [9.0, 6.0, 8.5], "bits": 6.0, "bytes": 4, "bits_per_byte": 1.5,
    }  # fmt: skip


def test_choices_without_their_context_are_left_out() -> None:
    score = {"task": "continuation", "choice_bits": [2.0, 3.0, 5.0, 6.0], "acc_mutual_info": 1.0}
    assert item_line(score, "d:0", "d", 2, 0, 2)["choice_bits"] == [2.0, 3.0]


def test_a_task_is_scored_over_clusters() -> None:
    lines = [
        item_line({**ANSWERS, "right": right}, str(number), f"d{number // 2}", 3, 1, 4)
        for number, right in enumerate([1, 1, 0, 0, 1, 0, 1, 1])
    ]
    by_criterion, per_byte, bits = task_rows(lines)
    shares = [1, 0, 0.5, 1]
    error = math.sqrt(sum((share - 0.625) ** 2 for share in shares) / 12)
    assert (by_criterion["value"], by_criterion["stderr"]) == (0.625, pytest.approx(error, abs=1e-6))
    assert by_criterion["low"] < 0.625 < by_criterion["high"] < 1
    assert (per_byte["value"], per_byte["metric"], per_byte["n"]) == (0.0, "accuracy_per_byte", 8)
    assert (by_criterion["chance"], bits["chance"]) == (pytest.approx(1 / 3), None)
    assert (bits["value"], interval(bits)) == (1.5, (1.5, 1.5))
    assert task_rows(lines[:2])[0]["stderr"] is None
    assert interval(task_rows(lines[:2])[0]) is None


def test_independent_answers_have_the_interval_of_wilson() -> None:
    names = [str(number) for number in range(2000)]
    low, high = accuracy([1] * 1990 + [0] * 10, names)[2:]
    assert (low, high) == pytest.approx(wilson(1990, 2000), abs=1e-4)
    assert high < 1


def test_the_error_of_bits_per_byte_agrees_with_resampling() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(50, 3000, 300).astype(float)
    amounts = sizes * (1.5 + 0.3 * generator.standard_normal(300))
    value, error, low, high = bits_per_byte(amounts, sizes, [str(number) for number in range(300)])
    assert value == pytest.approx(amounts.sum() / sizes.sum())
    draws = generator.integers(0, 300, (3000, 300))
    resampled = amounts[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    assert error == pytest.approx(resampled.std(), rel=0.1)
    assert (high - low) / error == pytest.approx(2 * 1.968, abs=0.001)


def test_a_figure_that_is_none_is_refused() -> None:
    with pytest.raises(PedigreeError, match="not finite"):
        row("heldout", "bits_per_byte", Estimate(math.nan, 0, 0, 0), 3)
