import numpy as np
import pytest

from llm_core.evals.centred import centred


def row(task: str, value: float, stderr: float | None, chance: float | None, metric: str = "accuracy") -> dict:
    return {"task": task, "metric": metric, "value": value, "stderr": stderr, "chance": chance}


def test_chance_is_0_and_all_right_is_1() -> None:
    rows = [row("quiz", 0.25, 0.01, 0.25), row("words", 0.0, 0.01, None)]
    assert centred(rows, {})["value"] == 0
    assert centred([row("quiz", 1.0, 0.0, 0.25)], {})["value"] == 1
    assert centred([row("pairs", 0.4, 0.01, 0.5)], {})["value"] == pytest.approx(-0.2)
    others = [row("quiz", 0.9, 0.01, 0.25, "accuracy_per_byte"), row("texts", 2.0, 0.1, None, "bits_per_byte")]
    assert centred([*rows, *others], {})["tasks"] == ["quiz", "words"]
    assert centred([*rows, *others], {"quiz": "bytes"})["value"] == pytest.approx((0.65 / 0.75 + 0) / 2)
    assert centred(others, {}) is None


def test_the_interval_covers_the_score_of_the_true_accuracies() -> None:
    draw, items = np.random.default_rng(0), 200
    true, chance = np.array([0.3, 0.7, 0.1]), np.array([0.25, 0.5, 0.0])
    score, covered = float(np.mean((true - chance) / (1 - chance))), 0
    for _ in range(400):
        found = draw.binomial(items, true) / items
        rows = [
            row(str(task), value, (value * (1 - value) / items) ** 0.5, chance[task])
            for task, value in enumerate(found)
        ]
        result = centred(rows, {})
        covered += result["low"] <= score <= result["high"]
    assert 0.92 < covered / 400 < 0.98


def test_without_the_error_of_a_task_there_is_no_interval() -> None:
    found = centred([row("quiz", 0.5, None, 0.25), row("words", 0.5, 0.1, None)], {})
    assert (found["low"], found["high"]) == (None, None)
