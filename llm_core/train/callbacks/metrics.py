"""Writes ``metrics.jsonl``."""

from functools import reduce
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.train.callbacks.json_lines import JsonLinesCallback
from llm_core.train.callbacks.run import Run
from llm_core.train.metrics_log import METRICS, chained_digest, read_metrics
from llm_core.train.warm_start import first_step


class Metrics(JsonLinesCallback):
    """Writes one line of ``metrics.jsonl`` per step. Every checkpoint contains a digest of the lines so far.

    A resumed run compares the lines with the digest: the artifact's results and checks are computed from them.
    """

    file = METRICS

    def __init__(self) -> None:
        self._digest = ""
        self._expected: str | None = None

    def on_start(self, run: Run) -> None:
        """Open the file. ``PedigreeError`` when its lines were changed or are gone."""
        super().on_start(run)
        if self.writer:
            self._digest = reduce(chained_digest, read_metrics(self.writer.path), "")
            # A run that starts from another run's state gets that run's digest, too.
            starts = run.progress.step == first_step(run.spec)
            if not starts and self._expected not in (None, self._digest):
                raise PedigreeError(
                    f"{self.writer.path}: its lines up to step {run.progress.step} are not what this run wrote, so its "
                    "losses and checks would be wrong. Restore the file; or, to train from the start, move "
                    f"{run.spec.work} away"
                )
        self._expected = None

    def on_metrics(self, run: Run, metrics: dict[str, Any]) -> None:
        """Write one line."""
        if self.writer:
            self.writer.append(metrics)
            self._digest = chained_digest(self._digest, metrics)

    def state_dict(self) -> dict[str, Any]:
        """The digest of all lines so far."""
        return {"lines": self._digest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Expect the lines with this digest."""
        self._expected = state["lines"]
