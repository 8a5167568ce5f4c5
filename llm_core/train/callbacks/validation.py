"""The loss on held-out text, now and then."""

import torch
from torch import Tensor

from llm_core.errors import PedigreeError
from llm_core.tokens.byte_lengths import byte_lengths
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.run import Run
from llm_core.train.validation import ValidationLoss, measure
from llm_core.train.warm_start import first_step


class Validation(Callback):
    """``validation_loss`` every ``validate_every`` steps, and after the last one; with a tokenizer
    ``validation_bits_per_byte`` as well.

    A run that begins with the weights of another has ``start_validation_loss`` in its first line.
    """

    def __init__(self) -> None:
        self._at_start: Tensor | None = None
        self._bytes_V: Tensor | None = None

    def on_start(self, run: Run) -> None:
        """Measure what the run begins with."""
        if self._bytes_V is None:
            self._bytes_V = _bytes_V(run)
        begins = run.spec.start is not None and run.progress.step == first_step(run.spec)
        self._at_start = self._measured(run).loss if begins else None

    def after_step(self, run: Run) -> dict[str, Tensor]:
        """Measure it with the new weights, without waiting for the device."""
        step, training = run.progress.step, run.spec.training
        metrics = {} if self._at_start is None else {"start_validation_loss": self._at_start}
        self._at_start = None
        if step % training.validate_every == 0 or step == training.steps:
            measured = self._measured(run)
            metrics["validation_loss"] = measured.loss
            if measured.bits_per_byte is not None:
                metrics["validation_bits_per_byte"] = measured.bits_per_byte
        return metrics

    def _measured(self, run: Run) -> ValidationLoss:
        return measure(run.model, run.data.heldout, run.spec, run.world, self._bytes_V)


def _bytes_V(run: Run) -> Tensor | None:  # noqa: N802
    """Bytes of each token, where a tokenizer tells; else the log says why there are no bits per byte."""
    if run.spec.tokenizer is None:
        run.log("validation: nats per token alone; bits per byte need the specification's 'tokenizer'")
        return None
    try:
        lengths = byte_lengths(run.spec.tokenizer, run.data.heldout.vocab_size)
    except PedigreeError as error:
        run.log(f"validation: nats per token alone: {error}")
        return None
    return torch.from_numpy(lengths).to(run.world.device)
