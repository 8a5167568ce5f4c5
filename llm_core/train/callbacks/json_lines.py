"""A base class of callbacks that append JSON lines to a file in the work folder."""

from typing import TYPE_CHECKING, Any, ClassVar

from llm_core.train.callbacks.base import Callback
from llm_core.train.metrics_log import JsonLinesWriter

if TYPE_CHECKING:
    from llm_core.train.callbacks.run import Run


class JsonLinesCallback(Callback):
    """Has ``self.writer`` for ``file`` while the run trains, on the main rank only. Every line has a ``step``.

    When the file is opened, lines of steps that the run will repeat are removed.
    """

    file: ClassVar[str]
    writer: JsonLinesWriter | None = None

    def stays(self, run: "Run", line: dict[str, Any]) -> bool:
        """Whether to keep a line of an earlier attempt: its step is done."""
        step: int = line["step"]
        return step <= run.progress.step

    def on_start(self, run: "Run") -> None:
        """Open the file; again after a rollback."""
        if run.world.is_main:
            from llm_core.train.work_folder import record_growing_output  # it imports torch

            self._close()
            record_growing_output(run.spec.work, run.spec.work / self.file)
            self.writer = JsonLinesWriter(run.spec.work / self.file, lambda line: self.stays(run, line))

    def at_checkpoint(self, run: "Run") -> None:
        """Flush the lines: the checkpoint counts their steps as done."""
        if self.writer:
            self.writer.sync()

    def on_end(self, run: "Run", finished: bool) -> None:
        """Close the file."""
        self._close()

    def _close(self) -> None:
        if self.writer:
            self.writer.close()
            self.writer = None
