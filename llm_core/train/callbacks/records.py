"""Where figures go: ``metrics.jsonl`` and a tracker. Ranks other than the main one write nothing."""

from typing import Any

from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.base import Callback, Run
from llm_core.train.callbacks.lines import WritesLines
from llm_core.train.metrics import METRICS
from llm_core.train.spec import TrainerSpec
from llm_core.train.tracking import Tracker, open_tracker


class Metrics(WritesLines):
    """A line of ``metrics.jsonl`` for every step."""

    file = METRICS

    def on_figures(self, run: Run, figures: dict[str, Any]) -> None:
        """Write one line."""
        if self.writer:
            self.writer.append(figures)


@runtime_only("tells a tracker")
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
