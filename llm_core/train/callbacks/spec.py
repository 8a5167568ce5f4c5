"""The callbacks that come with Pedigree: their settings, their place in the order, and what they leave.

No torch here: an experiment that names them is read without it.
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
    """The first step that is traced; the first of a run is 1."""
    steps: Count = 3
    """How many are traced."""

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.profiler:Profiler")(self)


class Validation(CallbackSpec):
    """The loss on held-out text, as ``training.validate_every`` says."""

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
    """A line of metrics for every step."""

    kind: Literal["metrics"] = "metrics"
    outputs: ClassVar = (METRICS,)
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.metrics:Metrics")()


class Tracking(CallbackSpec):
    """The same metrics for Weights & Biases."""

    kind: Literal["tracking"] = "tracking"
    outputs: ClassVar = ("wandb/*",)
    switch: ClassVar = "tracking.wandb turns it on"

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.tracking:Tracking")()


class BadBatches(CallbackSpec):
    """What bad steps read."""

    kind: Literal["bad_batches"] = "bad_batches"
    outputs: ClassVar = (BAD_BATCHES,)
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.bad_steps:BadBatches")()


@runtime_only("watches a run")
class Samples(CallbackSpec):
    """How the model continues held-out documents."""

    kind: Literal["samples"] = "samples"
    outputs: ClassVar = (SAMPLES,)
    packages: ClassVar = ("tokenizers",)

    every: Count = 500
    """Steps between samples; the last step always has some."""
    documents: Count = 4
    """How many are continued."""
    prompt_tokens: Count = 16
    """Tokens of a document that are given."""
    new_tokens: Count = 48
    """Tokens that the model adds."""

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.samples:Samples")(self)

    def check(self, model: ModelSpec) -> None:
        """See ``CallbackSpec``."""
        check_generated(model, self.prompt_tokens + self.new_tokens, "prompt_tokens and new_tokens")


class BadSteps(CallbackSpec):
    """What follows from bad steps, as ``training.guards`` and ``training.max_bad_steps`` say."""

    kind: Literal["bad_steps"] = "bad_steps"
    phase: ClassVar = Phase.MAY_STOP
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.bad_steps:BadSteps")()


class LeakProbe(CallbackSpec):
    """A run does not begin with a mask that leaks, or with wrong targets."""

    kind: Literal["leak_probe"] = "leak_probe"
    phase: ClassVar = Phase.MAY_STOP
    switch: ClassVar = "training.guards.leak_probe turns it on"

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.leak_probe:LeakProbe")()


class LossFloor(CallbackSpec):
    """A loss that is too good to be true stops the run."""

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
    """Checkpoints, as ``compute.checkpoint_every`` says."""

    kind: Literal["checkpointing"] = "checkpointing"
    phase: ClassVar = Phase.LAST
    switch: ClassVar = _EVERY_RUN

    def build(self) -> Any:
        """See ``CallbackSpec``."""
        return load_object("llm_core.train.callbacks.checkpointing:Checkpointing")()
