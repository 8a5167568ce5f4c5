"""Where the figures of a run go: ``metrics.jsonl``, and a tracker. Ranks other than the main one write nothing."""

from collections.abc import Mapping
from typing import Any

from llm_core.train.metrics import METRICS, MetricsWriter
from llm_core.train.spec import TrainerSpec
from llm_core.train.tracking import open_tracker

RUNTIME_ONLY = True


class Records:
    """The figures of the steps after ``step``; older attempts at those steps are forgotten."""

    def __init__(self, spec: TrainerSpec, is_main: bool, step: int) -> None:
        self._writer = MetricsWriter(spec.work / METRICS, step) if is_main else None
        self._tracker = open_tracker(spec) if is_main else None

    def append(self, figures: Mapping[str, Any]) -> None:
        """The figures of one step, ``step`` among them."""
        if self._writer and self._tracker:
            self._writer.append(figures)
            self._tracker.log(figures)

    def sync(self) -> None:
        """Before a checkpoint: the lines of its steps must not be lost when it is not."""
        if self._writer:
            self._writer.sync()

    def close(self, finished: bool) -> None:
        """The run has ``finished``, or stops here for now."""
        if self._writer and self._tracker:
            self._writer.close()
            self._tracker.finish(finished)
