"""Scores in pairs of items: the same error as a paired t test, and the truth of made differences."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.science.tuning_comparison import build, compared
from tests.judged import judged


def scores(count, shift=0.0, seed=1):
    """Items of a suite and of the held-out text: bits per byte 2 + ``shift``, with noise that both sides share."""
    rng, own = np.random.default_rng(0), np.random.default_rng(seed)
    lines = []
    for task in ("suite", "heldout"):
        for number in range(count):
            easy = rng.normal()
            bits = 100 * (2 + 0.3 * easy + shift + own.normal(scale=0.02))
            correct = {"correct": int(easy + own.normal(scale=0.1) < -20 * shift)} if task == "suite" else {}
            names = {"task": task, "item_id": str(number), "cluster": str(number)}
            lines.append({**names, "bits": bits, "bytes": 100, **correct})
    return lines


def test_the_interval_is_that_of_paired_differences():
    before, after = scores(50), scores(50, seed=2)
    row = next(row for row in compared(before, after) if (row["task"], row["metric"]) == ("heldout", "bits_per_byte"))
    values = [(b["bits"] - a["bits"]) / 100 for a, b in zip(before, after, strict=True) if a["task"] == "heldout"]
    theirs = ttest_1samp(values, 0)
    assert row["difference"] == pytest.approx(np.mean(values))
    assert (row["low"], row["high"]) == pytest.approx(tuple(theirs.confidence_interval()))
    assert row["p"] == pytest.approx(min(1, 3 * theirs.pvalue), rel=0.9)  # Holm: at most three times
    assert row["p"] >= theirs.pvalue


def test_made_differences_are_called_and_equal_models_are_not():
    def verdicts(shift):
        return {(row["task"], row["metric"]): row["verdict"] for row in compared(scores(200), scores(200, shift, 2))}

    both = [("suite", "accuracy"), ("suite", "bits_per_byte"), ("heldout", "bits_per_byte")]
    assert verdicts(-0.05) == dict.fromkeys(both, "better")
    assert verdicts(0.05) == dict.fromkeys(both, "worse")
    assert verdicts(0.0) == dict.fromkeys(both, "undecided")


def test_other_items_can_not_be_compared():
    with pytest.raises(PedigreeError, match="not scored on the same items"):
        compared(scores(5), scores(6))


def test_one_cluster_has_no_interval():
    before, after = ([{**line, "cluster": "one"} for line in scores(9, seed=seed)] for seed in (1, 2))
    assert {(row["low"], row["verdict"]) for row in compared(before, after)} == {(None, "undecided")}


def test_the_stage_tells_how_much_was_forgotten(tmp_path):
    inputs = {}
    for role, shift in (("eval_results", 0.0), ("instruct_eval_results", 1.0), ("chat_eval_results", -0.1)):
        folder = tmp_path / role
        folder.mkdir()
        (folder / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in scores(50, shift)))
        inputs[role] = SimpleNamespace(path=folder)
    found = build(Job("tuning_comparison", "i", inputs, tmp_path, tmp_path))
    assert found.forgotten["instruct_eval_results"] == pytest.approx(0.5, abs=0.05)
    assert found.forgotten["chat_eval_results"] == pytest.approx(-0.05, abs=0.01)
    assert (tmp_path / "comparison.jsonl").read_text().count("\n") == 6
    (check,) = judged("tuning_comparison", found)
    assert not check.passed
    assert not check.blocking
    (check,) = judged("tuning_comparison", found, max_forgotten=0.9)
    assert check.passed
