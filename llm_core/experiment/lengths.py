"""Checks that model, vocabulary, training steps, sequence lengths and machine fit together."""

import math

from llm_core.experiment.model import ModelSpec
from llm_core.experiment.runtime import SpreadSpec
from llm_core.experiment.training import TrainingSpec


def check_lengths(model: ModelSpec, training: TrainingSpec, place: str = "") -> None:
    """Raise ``ValueError`` for windows and model limits that do not fit ``training.sequence_length``, and for bags of
    tokens with a model that predicts single tokens.

    ``place``: the prefix for the names of both sections in the message.
    """
    length = training.sequence_length
    for layer in model.layers:
        window = getattr(layer.mixer, "window", None)
        if window is not None and window > length:
            raise ValueError(
                f"{place}model: the window of layer {layer.index} is {window} tokens, longer than a sequence "
                f"({place}training.sequence_length {length}): make it {length} or less, leave it out, or train on "
                "longer sequences"
            )
    longest = model.longest()
    if longest is not None and longest < length:
        raise ValueError(
            f"{place}model: can read {longest} tokens (by absolute_position, or a mixer's max_length), but a sequence "
            f"has {length} ({place}training.sequence_length)"
        )
    if model.ngram_embedding is not None and training.superposition is not None:
        raise ValueError(
            f"{place}training.superposition: does not go with {place}model.ngram_embedding, which reads single tokens"
        )
    if model.multi_token is not None and training.superposition is not None:
        raise ValueError(
            f"{place}training.superposition: does not go with {place}model.multi_token, which predicts single tokens"
        )
    for layer in model.layers:
        try:
            if layer.feed_forward is not None:
                layer.feed_forward.check_trained()
        except ValueError as error:
            raise ValueError(f"{place}model: the feed_forward of layer {layer.index}: {error}") from None
    if model.multi_token is not None and model.multi_token.depth >= length:
        raise ValueError(
            f"{place}model.multi_token.depth {model.multi_token.depth}: a sequence has {length} tokens "
            f"({place}training.sequence_length), which is too short: make it {length - 1} or less"
        )


CLAMP_MARGIN = 0.5
"""Nats by which ``loss_clamp`` must exceed the loss of an untrained model."""


def check_clamp(training: TrainingSpec, vocab_size: int, place: str = "") -> None:
    """Raise ``ValueError`` for a ``loss_clamp`` that leaves initial weights without any gradient."""
    least = math.log(vocab_size) + CLAMP_MARGIN
    if training.loss_clamp is not None and training.loss_clamp <= least:
        raise ValueError(
            f"{place}training.loss_clamp {training.loss_clamp}: before training every token has a loss of about "
            f"{math.log(vocab_size):.2f} (the logarithm of {vocab_size} entries), and would have no gradient: make it "
            f"more than {math.ceil(100 * least) / 100}, or leave it out"
        )


def check_compiled(training: TrainingSpec, compute: SpreadSpec, place: str = "", where: str = "compute.") -> None:
    """Raise ``ValueError`` for fp8 without a compiler: scaling and casting every tensor then costs more time than its
    products save, and bf16 is faster.

    ``where``: the prefix for the field ``compile`` in the message.
    """
    if training.precision == "fp8" and not compute.compile:
        raise ValueError(
            f"{place}training.precision fp8 needs {where}compile: true: uncompiled, the casts to 8 bits take longer "
            "than the products save; set that, or precision to bf16"
        )


def check_phases(training: TrainingSpec, place: str = "") -> None:
    """Raise ``ValueError`` for a phase that the run never reaches. (A branch may end before phases of its trunk.)"""
    for name in ("sequence_schedule", "batch_schedule"):
        for phase in getattr(training, name):
            if phase.from_step >= training.steps:
                raise ValueError(
                    f"{place}training.{name}: the phase from step {phase.from_step} never begins: the run has "
                    f"{training.steps} steps, and the first is 0"
                )


def check_generated(model: ModelSpec, tokens: int, field: str) -> None:
    """Raise ``ValueError`` when ``field`` makes a model generate more ``tokens``, with the prompt, than it can read."""
    longest = model.longest()
    if longest is not None and tokens > longest:
        raise ValueError(f"{field}: {tokens} tokens, but the model can read at most {longest}; give a smaller number")
