"""The centred score of several tasks, as CORE of DCLM computes it (Li et al., 2024).

The accuracy of a task, minus that of chance, as a share of what is above chance: 0 is chance, 1 is every answer right,
and tasks with few and with many choices count alike. The score is the mean over the tasks. It is only comparable
between models that were scored on the same tasks, and is CORE itself only on the 22 tasks of CORE with its prompts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtri

from llm_core.evals.scores import DIGITS

CRITERIA = {"bytes": "accuracy_per_byte", "characters": "accuracy_per_character", "tokens": "accuracy_per_token"}
"""Criterion of a suite → the accuracy that counts."""


def centred(rows: Sequence[Mapping[str, Any]], criteria: Mapping[str, str]) -> dict[str, Any] | None:
    """``value`` with its 95% interval (``low``, ``high``), and ``tasks``: their names. None without an accuracy.

    ``rows``: of ``evals.jsonl``. ``criteria``: task → the criterion of its suite, where it has one. A task without
    choices has a chance of 0. The interval is about the items, not about the choice of tasks: the error is that of a
    mean of independent accuracies. It is None if that of a task is.
    """
    scored = [row for row in rows if row["metric"] == CRITERIA.get(criteria.get(row["task"], ""), "accuracy")]
    if not scored:
        return None
    above = [1 - (row["chance"] or 0.0) for row in scored]
    value = float(np.mean([1 - (1 - row["value"]) / rest for row, rest in zip(scored, above, strict=True)]))
    found: dict[str, Any] = {"value": round(value, DIGITS), "low": None, "high": None}
    if all(row["stderr"] is not None for row in scored):
        errors = [row["stderr"] / rest for row, rest in zip(scored, above, strict=True)]
        reach = float(ndtri(0.975) * np.sqrt(np.square(errors).sum()) / len(scored))
        found |= {"low": round(value - reach, DIGITS), "high": round(value + reach, DIGITS)}
    return {**found, "tasks": [row["task"] for row in scored]}
