"""Where figures go: ``metrics.jsonl`` and a tracker. Ranks other than the main one write nothing."""

from functools import reduce
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.lines import WritesLines
from llm_core.train.callbacks.run import Run
from llm_core.train.metrics import METRICS, chained, read_metrics
from llm_core.train.start import first_step
from llm_core.train.tracking import Tracker, open_tracker


class Metrics(WritesLines):
    """A line of ``metrics.jsonl`` for every step. A checkpoint keeps a digest of the lines of its steps.

    So a run that goes on knows whether they are what it wrote: the artifact's figures and checks are made of them.
    """

    file = METRICS

    def __init__(self) -> None:
        self._chain = ""
        self._kept: str | None = None

    def on_start(self, run: Run) -> None:
        """Open the file. ``PedigreeError`` where its lines were changed, or are gone."""
        super().on_start(run)
        if self.writer:
            self._chain = reduce(chained, read_metrics(self.writer.path), "")
            begins = run.progress.step == first_step(run.spec)  # perhaps with the state of another run, and its digest
            if not begins and self._kept not in (None, self._chain):
                raise PedigreeError(
                    f"{self.writer.path}: its lines up to step {run.progress.step} are not what this run wrote: its "
                    "losses and checks would be false. Put the file back as it was; or, to train anew, move "
                    f"{run.spec.work} away"
                )
        self._kept = None

    def on_figures(self, run: Run, figures: dict[str, Any]) -> None:
        """Write one line."""
        if self.writer:
            self.writer.append(figures)
            self._chain = chained(self._chain, figures)

    def state_dict(self) -> dict[str, Any]:
        """The digest of all lines so far."""
        return {"lines": self._chain}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Expect the lines that were there."""
        self._kept = state["lines"]


@runtime_only("tells a tracker")
class Tracking(Callback):
    """Weights & Biases, where the specification asks for it."""

    def __init__(self) -> None:
        self._tracker: Tracker | None = None

    def on_start(self, run: Run) -> None:
        """Begin, once."""
        if run.world.is_main and self._tracker is None:
            self._tracker = open_tracker(run.spec)

    def on_figures(self, run: Run, figures: dict[str, Any]) -> None:
        """Pass them on."""
        if self._tracker:
            self._tracker.log(figures)

    def on_end(self, run: Run, finished: bool) -> None:
        """Tell how it ended."""
        if self._tracker:
            self._tracker.finish(finished)
