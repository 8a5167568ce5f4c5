"""The loss on held-out text, now and then."""

from torch import Tensor

from llm_core.train.callbacks.base import Callback, Run
from llm_core.train.start import first_step
from llm_core.train.validation import validation_loss


class Validation(Callback):
    """``validation_loss`` every ``validate_every`` steps, and after the last one.

    A run that begins with the weights of another has ``start_validation_loss`` in its first line.
    """

    def __init__(self) -> None:
        self._at_start: Tensor | None = None

    def on_start(self, run: Run) -> None:
        """Measure what the run begins with."""
        begins = run.spec.start is not None and run.progress.step == first_step(run.spec)
        self._at_start = self._measured(run) if begins else None

    def after_step(self, run: Run) -> dict[str, Tensor]:
        """Measure it with the new weights, without waiting for the device."""
        step, training = run.progress.step, run.spec.training
        figures = {} if self._at_start is None else {"start_validation_loss": self._at_start}
        self._at_start = None
        if step % training.validate_every == 0 or step == training.steps:
            figures["validation_loss"] = self._measured(run)
        return figures

    def _measured(self, run: Run) -> Tensor:
        return validation_loss(run.model, run.data.heldout, run.spec, run.world)
