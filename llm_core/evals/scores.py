"""Ratio statistics of documents, with standard errors."""

import math
from collections.abc import Sequence

import numpy as np

from llm_core.errors import PedigreeError

DIGITS = 6


def ratio(amounts: Sequence[float], sizes: Sequence[float]) -> tuple[float, float | None]:
    """Sum of ``amounts`` over sum of ``sizes``, and its standard error over documents (None for a single one).

    One pair per document: bits and bytes, or right answers and questions. Documents are the independent units, not
    bytes or questions, so the error is that of a ratio estimator (Cochran, 1977, ch. 2), from linearised residuals.
    """
    x, y = np.asarray(amounts, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    value, n = float(x.sum() / y.sum()), len(x)
    if n < 2:
        return value, None
    residuals = x - value * y
    return value, float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / y.sum())


def row(
    task: str, metric: str, value: float, stderr: float | None, n: int, chance: float | None = None
) -> dict[str, str | int | float | None]:
    """One line of ``evals.jsonl``, rounded to six digits, because later digits are noise of parallel sums.

    Raises ``PedigreeError`` for a value that is not finite.
    """
    if not math.isfinite(value):
        raise PedigreeError(
            f"{task}: {metric} is {value}: the model's outputs are not finite; look at its training loss"
        )
    return {
        "task": task,
        "metric": metric,
        "value": round(value, DIGITS),
        "stderr": None if stderr is None else round(stderr, DIGITS),
        "n": n,
        "chance": chance,
    }
