"""Callbacks that append to a file of JSON lines in the work folder."""

from typing import TYPE_CHECKING, Any, ClassVar

from llm_core.train.callbacks.base import Callback
from llm_core.train.metrics_log import JsonLinesWriter

if TYPE_CHECKING:
    from llm_core.train.callbacks.run import Run


class JsonLinesCallback(Callback):
    """Has ``self.writer`` for ``file`` while the run goes on, on the main rank alone. Every line has a ``step``.

    Lines of steps that a resumed run makes again are cut off when the file is opened.
    """

    file: ClassVar[str]
    writer: JsonLinesWriter | None = None

    def stays(self, run: "Run", line: dict[str, Any]) -> bool:
        """Whether a line of an earlier attempt is of what lies behind the run."""
        step: int = line["step"]
        return step <= run.progress.step

    def on_start(self, run: "Run") -> None:
        """Open the file; anew when the run went back."""
        if run.world.is_main:
            from llm_core.train.work_folder import record_growing_output  # it imports torch

            self._close()
            record_growing_output(run.spec.work, run.spec.work / self.file)
            self.writer = JsonLinesWriter(run.spec.work / self.file, lambda line: self.stays(run, line))

    def at_checkpoint(self, run: "Run") -> None:
        """The lines of its steps must not be lost when the checkpoint is not."""
        if self.writer:
            self.writer.sync()

    def on_end(self, run: "Run", finished: bool) -> None:
        """Close the file."""
        self._close()

    def _close(self) -> None:
        if self.writer:
            self.writer.close()
            self.writer = None
