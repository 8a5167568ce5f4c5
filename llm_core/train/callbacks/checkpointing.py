"""Decides when to write checkpoints."""

from typing import Any

from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run, naming_callback


class Checkpointing(Callback):
    """Writes a checkpoint every ``checkpoint_every`` steps, at branch points, and when the run stops.

    A run with rollbacks also has one at its start.
    """

    def __init__(self) -> None:
        self._validated: tuple[int, float] | None = None

    def on_start(self, run: Run) -> None:
        """Save the initial state of a new run with rollbacks."""
        may_roll_back = run.spec.training.guards.spike_action == "rollback"
        if may_roll_back and not run.progress.callbacks:
            self._save(run)

    def on_metrics(self, run: Run, metrics: dict[str, Any]) -> None:
        """Remember the validation loss: it ranks the best checkpoints."""
        if "validation_loss" in metrics:
            self._validated = metrics["step"], metrics["validation_loss"]

    def end_step(self, run: Run, stopping: bool) -> None:
        """Save if this step has a checkpoint. Raises ``PedigreeError`` when an earlier one could not be written."""
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
        """Wait for the last checkpoint."""
        run.checkpoints.wait()

    def _save(self, run: Run) -> None:
        run.save_states()
        step, loss = self._validated or (None, None)
        run.checkpoints.save(run.model, run.optimizer, run.progress, loss if step == run.progress.step else None)
