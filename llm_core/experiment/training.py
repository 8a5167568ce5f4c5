"""The section ``training``: optimiser, schedule, batches."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Spec, later, one_of, outside_identity
from llm_core.experiment.component import KindOf
from llm_core.experiment.guards import NO_GUARDS, GuardsSpec
from llm_core.experiment.optimization import OptimizerSpec, ScheduleSpec
from llm_core.registries import OPTIMIZERS, PACKINGS, SCHEDULES

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Below1 = Annotated[float, Field(ge=0, lt=1)]


class MixtureSpec(Spec):
    """A mixture of the shards' sources in given shares."""

    weights: Annotated[dict[str, Positive], Field(min_length=1)]
    """Source → weight. Only the ratios of weights count. Other sources are not read."""
    max_epochs: Positive = 4.0
    """Maximum number of passes of a run over a source. A run that needs more is an error before it starts."""


class SequencePhase(Spec):
    """From step ``from_step`` on (the first is 0), sequences have this length."""

    from_step: Annotated[int, Field(ge=0)]
    """The first step of the phase."""
    sequence_length: Annotated[int, Field(ge=2)]
    """Tokens of a sequence in it."""


class BatchPhase(Spec):
    """From step ``from_step`` on (the first is 0), batches have this many tokens."""

    from_step: Annotated[int, Field(ge=0)]
    """The first step of the phase."""
    batch_tokens: Count
    """Tokens of an optimiser step in it."""


class SuperpositionSpec(Spec):
    """Token superposition (Peng, Gigant and Quesnelle, 2026): in the first steps, a position is a bag of tokens."""

    tokens: Annotated[int, Field(ge=2)]
    """Tokens per bag. A batch has the same number of tokens, in this many times fewer positions."""
    steps: Count
    """The number of first steps with bags (20% to 40% of the run in the paper). The other steps are ordinary."""


class DPOSpec(Spec):
    """Direct preference optimisation (Rafailov et al., 2023), for pairs of answers."""

    beta: Positive = 0.1
    """How much a difference of log-likelihoods counts. A larger one keeps the model closer to where it began."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """The probability that a pair is the wrong way round (conservative DPO: Mitchell, 2023)."""


class TrainingSpec(Spec):
    """The settings that decide the weights. Where and how a run happens (ranks, micro-batch) is ``compute``."""

    sequence_length: Annotated[int, Field(ge=2)] = 256
    """Tokens per sequence; with a ``sequence_schedule``, of the longest ones."""
    sequence_schedule: tuple[SequencePhase, ...] = later(default=(), absent=[])
    """Phases with shorter sequences. A batch has ``batch_tokens`` tokens in all of them."""
    packing: Annotated[str, one_of(PACKINGS)] = later(default="concat", absent="concat")
    """How documents become sequences: ``concat`` (cut at any token), ``best_fit`` (whole documents), ``pad``."""
    mixture: MixtureSpec | None = later(default=None, absent=None)
    """Without it, all sources are one stream, weighted by their size."""
    batch_tokens: Count
    """Tokens per optimiser step, over all ranks; with a ``batch_schedule``, of the largest batches."""
    batch_schedule: tuple[BatchPhase, ...] = later(default=(), absent=[])
    """Phases with smaller batches (Smith et al., 2018). The learning rate remains a function of the step."""
    tokens: Count
    """The token budget. Training stops after the last whole batch within it."""
    optimizer: Annotated[OptimizerSpec, KindOf(OPTIMIZERS, default="adamw")] = "adamw"  # type: ignore[assignment]
    """What a step does with the gradients."""
    schedule: Annotated[ScheduleSpec, KindOf(SCHEDULES, default="cosine")] = "cosine"  # type: ignore[assignment]
    """How the learning rate goes over the run."""
    superposition: SuperpositionSpec | None = later(default=None, absent=None)
    z_loss: Annotated[float, Field(ge=0)] = later(default=0.0, absent=0.0)
    """The weight of the squared logsumexp of each token in the loss (Chowdhery et al., 2022: 1e-4)."""
    loss_clamp: Positive | None = later(default=None, absent=None)
    """Nats. A token with a larger loss has no gradient. It must be above the loss of an untrained model."""
    dpo: DPOSpec | None = later(default=None, absent=None)
    """Only in the section ``preference``."""
    grad_clip: Positive | None = 1.0
    """The largest norm of the gradient; a longer one is scaled down to it. null: never."""
    precision: Literal["fp32", "bf16", "fp8"] = "bf16"
    """``bf16``: autocast. ``fp8``: bf16 autocast, with the matrix products of the blocks in 8 bits, on GPUs that can do
    it. Weights, gradients and moments are always fp32."""
    max_bad_steps: Count = outside_identity(default=20)
    """The run ends after this many bad steps in a row (not finite, or a spike). It can only stop a run, which
    continues from its checkpoint when this is raised."""
    guards: GuardsSpec = later(default=GuardsSpec(), absent=NO_GUARDS)
    validate_every: Count = outside_identity(default=50)
    """Steps between two validations on held-out text. Validation does not change the weights: it draws no random
    numbers, and it can only stop a run or keep more of its checkpoints."""
    validation_tokens: Count = outside_identity(default=65_536)
    """Held-out tokens per validation."""
    branch_points: tuple[Count, ...] = later(default=(), absent=[])
    """Steps after which the artifact keeps the full training state, for branches to start from."""

    @property
    def batch_size(self) -> int:
        """Sequences per optimiser step (of the largest)."""
        return self.batch_tokens // self.sequence_length

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        phases = self.batch_schedule
        left, steps = self.tokens, 0
        for phase, after in pairwise(phases):
            made = min(after.from_step - phase.from_step, left // phase.batch_tokens)
            steps, left = steps + made, left - made * phase.batch_tokens
            if steps < after.from_step:
                return steps
        return steps + left // (phases[-1].batch_tokens if phases else self.batch_tokens)

    def tokens_of(self, steps: int) -> int:
        """Tokens in the first ``steps`` steps."""
        phases = [(phase.from_step, phase.batch_tokens) for phase in self.batch_schedule] or [(0, self.batch_tokens)]
        ends = [*(start for start, _ in phases[1:]), steps]
        return sum(max(0, min(end, steps) - start) * size for (start, size), end in zip(phases, ends, strict=True))

    @model_validator(mode="after")
    def _phases(self) -> "TrainingSpec":
        phases = self.sequence_schedule
        if not phases:
            return self
        steps, lengths = [phase.from_step for phase in phases], [phase.sequence_length for phase in phases]
        if steps[0] != 0 or steps != sorted(set(steps)):
            raise ValueError(f"sequence_schedule: from_step must begin at 0 and rise, and is {steps}")
        if max(lengths) != self.sequence_length or any(self.sequence_length % length for length in lengths):
            raise ValueError(
                f"sequence_schedule: lengths {lengths}: the longest must be sequence_length {self.sequence_length}, "
                "and all must divide it"
            )
        if not PACKINGS.load(self.packing).windows:
            fitting = ", ".join(name for name in sorted(PACKINGS) if PACKINGS.load(name).windows)
            raise ValueError(
                f"sequence_schedule: can't cut the sequences of packing {self.packing!r} into shorter ones; use "
                f"packing: {fitting}, or leave sequence_schedule out"
            )
        return self

    @model_validator(mode="after")
    def _batch_phases(self) -> "TrainingSpec":
        phases = self.batch_schedule
        if not phases:
            return self
        steps, sizes = [phase.from_step for phase in phases], [phase.batch_tokens for phase in phases]
        if steps[0] != 0 or steps != sorted(set(steps)):
            raise ValueError(f"batch_schedule: from_step must begin at 0 and rise, and is {steps}")
        if max(sizes) != self.batch_tokens or any(size % self.sequence_length for size in sizes):
            raise ValueError(
                f"batch_schedule: batch_tokens {sizes}: the largest must be batch_tokens {self.batch_tokens}, and all "
                f"must be multiples of sequence_length {self.sequence_length}"
            )
        return self

    @model_validator(mode="after")
    def _shares_of_run(self) -> "TrainingSpec":
        object.__setattr__(self, "schedule", self.schedule.resolved(self.steps))  # frozen for all others
        return self

    @model_validator(mode="after")
    def _bags(self) -> "TrainingSpec":
        bags = self.superposition
        if bags is None:
            return self
        phases = [(phase.from_step, phase.sequence_length) for phase in self.sequence_schedule]
        lengths = {length for start, length in phases or [(0, self.sequence_length)] if start < bags.steps}
        for length in sorted(lengths):
            if length % bags.tokens or length < 2 * bags.tokens:
                raise ValueError(
                    f"superposition: a sequence of {length} tokens is no whole number of bags of {bags.tokens}, at "
                    "least two"
                )
        if bags.steps >= self.steps:
            raise ValueError(
                f"superposition: steps {bags.steps} leave none of the {self.steps} steps of the run to single tokens, "
                "which the model is used for"
            )
        if self.loss_clamp is not None:
            raise ValueError("superposition: does not go with loss_clamp, which is about single tokens")
        return self

    @model_validator(mode="after")
    def _pairs(self) -> "TrainingSpec":
        if self.dpo is not None and self.packing != "best_fit":
            raise ValueError(f"packing {self.packing!r} does not keep the answers of a pair together; use best_fit")
        if self.dpo is not None and (self.z_loss or self.loss_clamp is not None):
            raise ValueError("dpo: does not go with z_loss and loss_clamp, which are about single tokens")
        return self

    @model_validator(mode="after")
    def _fits(self) -> "TrainingSpec":
        lengths = [self.sequence_length, *(phase.sequence_length for phase in self.sequence_schedule)]
        bag = self.superposition.tokens if self.superposition else 1
        if self.precision == "fp8" and any(length % (16 * bag) for length in lengths):
            told = f" in bags of {bag}" if bag > 1 else ""
            raise ValueError(
                f"precision 'fp8' multiplies tokens by sixteens{told}: {lengths} must be multiples of {16 * bag}"
            )
        if self.batch_tokens % self.sequence_length:
            raise ValueError(
                f"batch_tokens {self.batch_tokens} is not a multiple of sequence_length {self.sequence_length}"
            )
        if self.steps < 1:
            raise ValueError(f"tokens {self.tokens} is less than one batch ({self.batch_tokens})")
        spent = self.schedule.warmup_steps + self.schedule.falling_steps()
        if spent > self.steps:
            raise ValueError(f"warm-up and cooldown take {spent} steps, but the run has only {self.steps}")
        return self

    @model_validator(mode="after")
    def _branch_points(self) -> "TrainingSpec":
        points, schedule = list(self.branch_points), self.schedule
        if points != sorted(set(points)):
            raise ValueError(f"branch_points {points} must rise")
        if points and not schedule.stays():
            raise ValueError(
                f"branch_points: branches leave a rate that stays, as that of the schedule 'wsd' does, and not "
                f"{schedule.kind!r}"
            )
        stable = range(schedule.warmup_steps, self.steps - schedule.falling_steps() + 1)
        if outside := [point for point in points if point not in stable]:
            raise ValueError(
                f"branch_points {outside}: give steps from {stable.start} to {stable.stop - 1}, where the learning "
                "rate is constant (after the warm-up, before the cooldown)"
            )
        return self
