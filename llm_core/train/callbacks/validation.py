"""Adds the validation loss to the metrics of some steps."""

import torch
from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.tokens.byte_lengths import byte_lengths
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run
from llm_core.train.spec import FINAL
from llm_core.train.validation import ValidationLoss, measure, windows_of
from llm_core.train.validation_windows import WINDOWS, write_windows
from llm_core.train.warm_start import first_step


class Validation(Callback):
    """Adds ``validation_loss`` and, with a tokenizer, ``validation_bits_per_byte``: every ``validate_every`` steps, and
    at the last step.

    A run from other weights has ``start_validation_loss`` in its first line. At the last step, the loss of each window
    is kept in a file beside the final weights.
    """

    def __init__(self) -> None:
        self._at_start: Tensor | None = None
        self._windows_3W: Tensor | None = None
        self._bytes_V: Tensor | None = None

    def on_start(self, run: Run) -> None:
        """Measure the loss of the weights from which the run starts."""
        if self._bytes_V is None:
            self._bytes_V = _bytes_V(run)
        starts = run.spec.start is not None and run.progress.step == first_step(run.spec)
        self._at_start = self._measured(run).loss if starts else None

    def after_step(self, run: Run) -> dict[str, Tensor]:
        """Measure the loss of the new weights, without waiting for the device."""
        step, training = run.progress.step, run.spec.training
        metrics = {} if self._at_start is None else {"start_validation_loss": self._at_start}
        self._at_start = None
        if step % training.validate_every == 0 or step == training.steps:
            measured = self._measured(run)
            metrics["validation_loss"] = measured.loss
            self._windows_3W = measured.windows_3W
            if measured.bits_per_byte is not None:
                metrics["validation_bits_per_byte"] = measured.bits_per_byte
        return metrics

    def end_step(self, run: Run, stopping: bool) -> None:
        """Write the windows of the last step, before its checkpoint: a run that resumes there validates no more."""
        heldout, training = run.data.heldout, run.spec.training
        if run.progress.step == training.steps and run.world.is_main:
            assert self._windows_3W is not None
            starts, length, targets = windows_of(heldout, training)
            write_windows(
                run.spec.work / FINAL / WINDOWS,
                heldout,
                starts,
                length,
                targets,
                self._windows_3W.cpu().numpy(),
                has_bytes=self._bytes_V is not None and training.dpo is None,
            )

    def _measured(self, run: Run) -> ValidationLoss:
        return measure(run.model, run.data.heldout, run.spec, run.world, self._bytes_V)


def _bytes_V(run: Run) -> Tensor | None:  # noqa: N802
    """The number of bytes of each token, (V,); None without a usable tokenizer, with a line in the log."""
    if run.spec.tokenizer is None:
        run.log("validation: only nats per token; bits per byte need 'tokenizer' in the specification")
        return None
    try:
        lengths = byte_lengths(run.spec.tokenizer, run.data.heldout.vocab_size)
    except PedigreeError as error:
        run.log(f"validation: only nats per token: {error}")
        return None
    return torch.from_numpy(lengths).to(run.world.device)
