"""The specifications of the built-in callbacks: settings, phase and outputs.

This module does not import torch: experiments are read without it.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from llm_core.experiment.base import Count
from llm_core.experiment.callbacks import CallbackSpec, Phase
from llm_core.experiment.lengths import check_generated
from llm_core.experiment.model import ModelSpec
from llm_core.registry import load_object
from llm_core.runtime_only import runtime_only
from llm_core.train.metrics_log import METRICS

BAD_BATCHES = "bad_batches.jsonl"
SAMPLES = "samples.jsonl"
PROFILE = "profile"

_EVERY_RUN = "every run has it"


@runtime_only("watches a run")
class Profile(CallbackSpec):
    """A trace of the time of some steps, for chrome://tracing or Perfetto."""

    kind: Literal["profile"] = "profile"
    phase: ClassVar = Phase.FIRST
    outputs: ClassVar = (f"{PROFILE}/*",)

    from_step: Count = 10
    """The first traced step, from 1."""
    steps: Count = 3
    """The number of traced steps."""

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.profiler:Profiler")(self)


class Validation(CallbackSpec):
    """The validation loss, every ``training.validate_every`` steps."""

    kind: Literal["validation"] = "validation"
    phase: ClassVar = Phase.ADDS_METRICS
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.validation:Validation")()


class Machine(CallbackSpec):
    """Memory and MFU of every step."""

    kind: Literal["machine"] = "machine"
    phase: ClassVar = Phase.ADDS_METRICS
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.machine:Machine")()


class Metrics(CallbackSpec):
    """One line of metrics per step."""

    kind: Literal["metrics"] = "metrics"
    outputs: ClassVar = (METRICS,)
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.metrics:Metrics")()


class Tracking(CallbackSpec):
    """The same metrics in Weights & Biases."""

    kind: Literal["tracking"] = "tracking"
    outputs: ClassVar = ("wandb/*",)
    switch: ClassVar = "tracking.wandb turns it on"

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.tracking:Tracking")()


class BadBatches(CallbackSpec):
    """A record of what bad steps read."""

    kind: Literal["bad_batches"] = "bad_batches"
    outputs: ClassVar = (BAD_BATCHES,)
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.bad_steps:BadBatches")()


@runtime_only("watches a run")
class Samples(CallbackSpec):
    """The model's continuations of held-out documents."""

    kind: Literal["samples"] = "samples"
    outputs: ClassVar = (SAMPLES,)
    packages: ClassVar = ("tokenizers",)

    every: Count = 500
    """Steps between samples. The last step always has samples."""
    documents: Count = 4
    """The number of documents."""
    prompt_tokens: Count = 16
    """The number of given tokens per document."""
    new_tokens: Count = 48
    """The number of tokens that the model adds."""

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.samples:Samples")(self)

    def check(self, model: ModelSpec) -> None:
        """See ``CallbackSpec``."""
        check_generated(model, self.prompt_tokens + self.new_tokens, "prompt_tokens and new_tokens")


class BadSteps(CallbackSpec):
    """Stops or rolls back after bad steps, by ``training.guards`` and ``training.max_bad_steps``."""

    kind: Literal["bad_steps"] = "bad_steps"
    phase: ClassVar = Phase.MAY_STOP
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.bad_steps:BadSteps")()


class LeakProbe(CallbackSpec):
    """Stops a run whose mask leaks, or whose targets are wrong, before the first step."""

    kind: Literal["leak_probe"] = "leak_probe"
    phase: ClassVar = Phase.MAY_STOP
    switch: ClassVar = "training.guards.leak_probe turns it on"

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.leak_probe:LeakProbe")()


class LossFloor(CallbackSpec):
    """Stops a run whose loss is too low to be true."""

    kind: Literal["loss_floor"] = "loss_floor"
    phase: ClassVar = Phase.MAY_STOP
    switch: ClassVar = "training.guards.loss_floor turns it on"

    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """``training.guards.loss_floor``."""
    steps: Count = 20
    """``training.guards.floor_steps``."""

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.loss_floor:StopAtLossFloor")(self)


class Checkpointing(CallbackSpec):
    """Checkpoints every ``compute.checkpoint_every`` steps, among others."""

    kind: Literal["checkpointing"] = "checkpointing"
    phase: ClassVar = Phase.LAST
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.checkpointing:Checkpointing")()
