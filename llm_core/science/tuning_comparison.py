"""The stage ``tuning_comparison``: what tuning changed in every score, from the same items before and after.

Both models answer the same items, so the differences of single items are compared: their error is much smaller than
that of two scores. Items of a cluster (a document, a paradigm) are alike. The p values are adjusted for the number of
scores of a model (Holm, 1979).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from llm_core.errors import PedigreeError
from llm_core.evals.generated import ROUGE
from llm_core.evals.scores import INSTRUCTION_LEVEL, PROMPT_LEVEL
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.results import Results
from llm_core.graph.stage import Verdict
from llm_core.intervals import clustered_mean
from llm_core.science.comparison import holm

BASE = "eval_results"
HELDOUT, BITS = "heldout", "bits_per_byte"
LEVEL = 0.05

_CORRECT = {
    "accuracy": "correct",
    "accuracy_per_byte": "correct_per_byte",
    "accuracy_per_character": "correct_per_character",
    "accuracy_per_token": "correct_per_token",
    "accuracy_likelihood": "correct_by_likelihood",
    **{name: name for name in (*ROUGE, *PROMPT_LEVEL, *INSTRUCTION_LEVEL)},
}
"""Metric → the field of an item's line."""

Line = Mapping[str, Any]


class TuningComparison(Results):
    """Scores of tuned models beside those of the model that was tuned first."""

    models: dict[str, list[dict[str, Any]]]
    """Stage of a tuned model's scores → a row per score: task, metric, ``before``, ``after``, ``difference`` with its
    95% interval (``low``, ``high``; None with a single cluster), ``p`` (adjusted), verdict (``better``, ``worse``,
    ``undecided``) and the number of items."""
    forgotten: dict[str, float]
    """Stage of a tuned model's scores → by how much the bits per byte of the base model's held-out text rose, as a
    share of what they were. Below 0: they fell."""


def build(job: Job) -> TuningComparison:
    """Compare the scores of every input with those of ``eval_results``. Writes ``comparison.jsonl``, a line per row."""
    base = score_lines(job.path(BASE, "scores.jsonl"))
    models = {role: compared(base, score_lines(job.path(role, "scores.jsonl"))) for role in job.inputs if role != BASE}
    with (job.out / "comparison.jsonl").open("w", encoding="utf-8") as file:
        for model, rows in models.items():
            for row in rows:
                file.write(json.dumps({"model": model, **row}) + "\n")
    heldout = {
        model: next(row for row in rows if (row["task"], row["metric"]) == (HELDOUT, BITS))
        for model, rows in models.items()
    }
    return TuningComparison(
        models=models, forgotten={model: row["difference"] / row["before"] for model, row in heldout.items()}
    )


def compared(before: Sequence[Line], after: Sequence[Line]) -> list[dict[str, Any]]:
    """A row per task and metric. ``PedigreeError`` when both are not scores of the same items."""
    paired = {(line["task"], line["item_id"]): line for line in after}
    if len(paired) != len(before) or any((line["task"], line["item_id"]) not in paired for line in before):
        raise PedigreeError("the two models were not scored on the same items; evaluate both again")
    rows: list[dict[str, Any]] = []
    p: list[float] = []
    for task in dict.fromkeys(line["task"] for line in before):
        own = [(line, paired[line["task"], line["item_id"]]) for line in before if line["task"] == task]
        for metric, field in (*_CORRECT.items(), (BITS, "bits")):
            if field in own[0][0]:
                row, chance = _row(task, metric, own)
                rows.append(row)
                p.append(chance)
    for row, adjusted in zip(rows, holm(np.array(p)).tolist(), strict=True):
        better = (row["difference"] < 0) == (row["metric"] == BITS)
        row["p"] = adjusted
        row["verdict"] = "undecided" if adjusted >= LEVEL else "better" if better else "worse"
    return rows


def _row(task: str, metric: str, pairs: Sequence[tuple[Line, Line]]) -> tuple[dict[str, Any], float]:
    """A row without its verdict, and the p value of no difference."""
    sizes = [_size(metric, line) for line, _ in pairs]
    sides = [
        [line["bits"] / line["bytes"] if metric == BITS else line[_CORRECT[metric]] for line in side]
        for side in zip(*pairs, strict=True)
    ]
    differences = np.subtract(sides[1], sides[0])
    clusters = [line["cluster"] for line, _ in pairs]
    found = clustered_mean(differences, clusters, sizes)
    known = bool(np.isfinite(found.stderr))
    statistic = abs(found.mean) / found.stderr if known and found.stderr > 0 else 0.0
    row = {
        "task": task,
        "metric": metric,
        "before": float(np.average(sides[0], weights=sizes)),
        "after": float(np.average(sides[1], weights=sizes)),
        "difference": found.mean,
        "low": found.low if known else None,
        "high": found.high if known else None,
        "items": len(pairs),
    }
    return row, float(2 * t.sf(statistic, max(1, len(set(clusters)) - 1)))


def _size(metric: str, line: Line) -> int:
    """The weight of an item: its bytes, or its rules, where these are what a score is a share of."""
    if metric == BITS:
        return int(line["bytes"])
    return len(line["rules"]) if metric in INSTRUCTION_LEVEL else 1


def score_lines(path: Path) -> list[Line]:
    """The lines of ``scores.jsonl``."""
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def little_forgotten(results: TuningComparison, bounds: ChecksSpec) -> Verdict:
    """The bits per byte of the base model's held-out text rose little."""
    worst, model = max((share, model) for model, share in results.forgotten.items())
    return Verdict(
        worst <= bounds.max_forgotten,
        f"bits per byte of held-out text, which no model is tuned on: {worst:+.1%} after tuning ({model})",
        value=worst,
        bound=bounds.max_forgotten,
    )
