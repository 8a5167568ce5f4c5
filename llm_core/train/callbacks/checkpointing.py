"""When checkpoints are written."""

from typing import Any

from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run, naming_callback


class Checkpointing(Callback):
    """A checkpoint every ``checkpoint_every`` steps, at branch points, and wherever a run stops. It stands last.

    A run that may go back has one at its start, too.
    """

    def __init__(self) -> None:
        self._validated: tuple[int, float] | None = None

    def on_start(self, run: Run) -> None:
        """Save what a run that goes back may have to begin with."""
        may_go_back = run.spec.training.guards.spike_action == "rollback"
        if may_go_back and not run.progress.callbacks:
            self._save(run)

    def on_metrics(self, run: Run, metrics: dict[str, Any]) -> None:
        """Remember the validation loss: the best checkpoints are kept by it."""
        if "validation_loss" in metrics:
            self._validated = metrics["step"], metrics["validation_loss"]

    def end_step(self, run: Run, stopping: bool) -> None:
        """Save, when it is time. Raises ``PedigreeError`` when an earlier checkpoint could not be written."""
        branch_point = run.progress.step in run.spec.training.branch_points
        if stopping or branch_point or run.progress.step % run.spec.checkpoint_every == 0:
            run.flush_metrics()
            for callback in run.callbacks:
                with naming_callback(callback.name):
                    callback.at_checkpoint(run)
            self._save(run)
        else:
            run.checkpoints.check()

    def on_end(self, run: Run, finished: bool) -> None:
        """Wait for the last one."""
        run.checkpoints.wait()

    def _save(self, run: Run) -> None:
        run.save_states()
        step, loss = self._validated or (None, None)
        run.checkpoints.save(run.model, run.optimizer, run.progress, loss if step == run.progress.step else None)
