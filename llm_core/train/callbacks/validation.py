"""The loss on held-out text, now and then."""

from torch import Tensor

from llm_core.train.callbacks.base import Callback, Run
from llm_core.train.validation import validation_loss


class Validation(Callback):
    """``validation_loss`` every ``validate_every`` steps, and after the last one."""

    def after_step(self, run: Run) -> dict[str, Tensor]:
        """Measure it with the new weights, without waiting for the device."""
        step, training = run.progress.step, run.spec.training
        if step % training.validate_every and step != training.steps:
            return {}
        return {"validation_loss": validation_loss(run.model, run.data.heldout, run.spec, run.world)}
