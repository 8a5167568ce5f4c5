"""The results of a measured technique, and of the table."""

from typing import Any

from llm_core.graph.results import Results, volatile


class Measured(Results):
    """Trainings of both sides of a technique, one per round."""

    left_out: str
    """Why this machine can't measure it; empty if it did."""
    seeds: list[int]
    before: list[float | None]
    after: list[float | None]
    """The held-out loss of each round, bits per byte; None: not finite."""
    deviation: float | None
    """The largest relative difference between the sides in the loss and gradient norm of a first step, for sides that
    should compute the same numbers. None for others, and for models with dropout or a loss per micro-batch."""
    tolerance: float
    """The largest ``deviation`` that rounding explains, by the precision."""
    clocks: dict[str, list[dict[str, Any]]] = volatile()
    """``before`` and ``after`` → per round: ``tokens_per_second`` (median over the timed steps), ``memory`` (bytes at
    the peak of a step), ``first_seconds`` (of the first step) and ``parameters``."""
    device: str = volatile()


class OptimizationTable(Results):
    """All rows. Differences are logarithms, below 0 where the technique is better."""

    rows: list[dict[str, Any]]
    """Per technique: the losses and what follows from them, or why it is left out."""
    clocks: list[dict[str, Any]] = volatile()
    """Per technique: speed and memory of both sides, their differences with 95% intervals, and lines of code."""
    device: str = volatile()
