"""Columns of a run's metrics for plots."""

from typing import Any

import numpy as np

Steps = list[dict[str, Any]]


def column(steps: Steps, name: str) -> np.ndarray:
    """One metric of every step as float64; NaN for steps without it."""
    return np.array([np.nan if step.get(name) is None else float(step[name]) for step in steps])


def validation(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which the validation loss was measured, and the losses (nats per token)."""
    losses = column(steps, "validation_loss")
    measured = ~np.isnan(losses)
    return column(steps, "step")[measured], losses[measured]


def smooth(values: np.ndarray, reach: int) -> np.ndarray:
    """The mean over ``reach`` steps before and after each step; fewer at both ends. Ignores NaN."""
    window = np.ones(2 * max(reach, 1) + 1)
    known = ~np.isnan(values)
    totals = np.convolve(np.where(known, values, 0.0), window)
    counts = np.convolve(known.astype(np.float64), window)
    middle = slice(max(reach, 1), max(reach, 1) + values.size)
    return np.where(counts[middle] > 0, totals[middle] / np.maximum(counts[middle], 1), np.nan)


def thin(count: int, most: int = 500) -> np.ndarray:
    """At most ``most`` indices spread evenly over ``count`` values, including the first and the last."""
    return np.arange(count) if count <= most else np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))
