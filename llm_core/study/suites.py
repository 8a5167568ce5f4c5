"""The scores of a study's runs on eval suites, as a stage reads them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.evals.tasks import HELDOUT
from llm_core.graph.job import Job
from llm_core.science.runs import Floats
from llm_core.study.study_run import StudyRun

BITS = "bits_per_byte"
"""The metric: of the gold answer, or of whole documents in a suite of those."""
NO_SUITES = (HELDOUT, "baseline_")
"""Beginnings of the tasks that are no suites: they have no questions, or no model."""


@dataclass(frozen=True)
class Scores:
    """The scores of all runs on one suite by one metric. ``above``: whether the 95% interval of a run is above
    chance; always for bits per byte, which have no chance."""

    task: str
    metric: str
    values: Floats
    above: tuple[bool, ...]
    chance: float | None
    items: int


def evaluation_of(run: StudyRun) -> str:
    """The role of a run's evaluation."""
    return run.role.replace("scaling_runs/", "eval_runs/", 1)


def rows_of(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(task, metric) → row of ``evals.jsonl``, of the suites alone. Questions from held-out text count as a suite."""
    rows = [json.loads(line) for line in (folder / "evals.jsonl").read_bytes().splitlines()]
    return {(row["task"], row["metric"]): row for row in rows if not row["task"].startswith(NO_SUITES)}


def suite_scores(job: Job, runs: Sequence[StudyRun]) -> list[Scores]:
    """The scores by suite and metric. ``PedigreeError`` when runs have other suites or items, so can't be compared."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        for key, row in rows_of(job.inputs[evaluation_of(run)].path).items():
            found[key].append(row)
    for (task, metric), rows in found.items():
        if len(rows) < len(runs) or len({row["n"] for row in rows}) > 1:
            raise PedigreeError(
                f"{job.stage}: the runs were not evaluated on the same items of {task} ({metric}), so their scores "
                "can't be compared; `pedigree plan` names the evaluations to make again"
            )
    return [_scores(task, metric, rows) for (task, metric), rows in found.items()]


def _scores(task: str, metric: str, rows: Sequence[Mapping[str, Any]]) -> Scores:
    chance = None if metric == BITS else float(rows[0]["chance"] or 0.0)
    above = tuple(chance is None or (row["low"] is not None and row["low"] > chance) for row in rows)
    values = np.array([row["value"] for row in rows], np.float64)
    return Scores(task, metric, values, above, chance, rows[0]["n"])
