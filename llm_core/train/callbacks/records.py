"""Where figures go: ``metrics.jsonl`` and a tracker. Ranks other than the main one write nothing."""

from typing import Any

from llm_core.train.callbacks.base import Callback, Run
from llm_core.train.metrics import METRICS, MetricsWriter
from llm_core.train.spec import TrainerSpec
from llm_core.train.tracking import Tracker, open_tracker

RUNTIME_ONLY = True


class Metrics(Callback):
    """A line of ``metrics.jsonl`` for every step. Lines of earlier attempts at the steps to come are cut off."""

    def __init__(self) -> None:
        self._writer: MetricsWriter | None = None

    def on_start(self, run: Run) -> None:
        """Open the file, and cut it after the last step made."""
        if run.world.is_main:
            self._close()
            self._writer = MetricsWriter(run.spec.work / METRICS, run.progress.step)

    def on_figures(self, run: Run, figures: dict[str, Any]) -> None:
        """Write one line."""
        if self._writer:
            self._writer.append(figures)

    def at_checkpoint(self, run: Run) -> None:
        """The lines of its steps must not be lost when the checkpoint is not."""
        if self._writer:
            self._writer.sync()

    def on_end(self, run: Run, finished: bool) -> None:
        """Close the file."""
        self._close()

    def _close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None


class Tracking(Callback):
    """Weights & Biases, where the specification asks for it."""

    def __init__(self, spec: TrainerSpec) -> None:
        self._spec = spec
        self._tracker: Tracker | None = None

    def on_start(self, run: Run) -> None:
        """Begin, once."""
        if run.world.is_main and self._tracker is None:
            self._tracker = open_tracker(self._spec)

    def on_figures(self, run: Run, figures: dict[str, Any]) -> None:
        """Pass them on."""
        if self._tracker:
            self._tracker.log(figures)

    def on_end(self, run: Run, finished: bool) -> None:
        """Tell how it ended."""
        if self._tracker:
            self._tracker.finish(finished)
