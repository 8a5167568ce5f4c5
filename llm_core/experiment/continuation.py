"""The sections that describe what goes on from the full run: cooldown branches, and longer contexts."""

from typing import Annotated

from pydantic import Field, ValidationError

from llm_core.experiment.base import Count, Share, Spec, told
from llm_core.experiment.layers import Positive, RopeScaling
from llm_core.experiment.lengths import check_lengths
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec

RUNTIME_ONLY = True


class BranchSpec(Spec):
    """A cooldown from a step of the full run (Hägele et al., 2024): one trunk at the full rate serves many budgets."""

    from_step: Count
    """One of ``training.branch_points``."""
    steps: Count
    """Steps of the cooldown."""
    final_share: Share = 0.0
    """What the rate would reach one step after the last one, as in ``schedule``."""

    def training(self, trunk: TrainingSpec) -> TrainingSpec:
        """The run that this is the end of: as the trunk, but for where it ends."""
        schedule = {"kind": "wsd", "cooldown_steps": self.steps, "final_share": self.final_share}
        changes = {
            "schedule": {**trunk.schedule.model_dump(), **schedule},
            "tokens": trunk.tokens_of(self.from_step + self.steps),
            "branch_points": (),
        }
        return TrainingSpec.model_validate({**trunk.model_dump(), **changes})


class LongContextSpec(Spec):
    """Training of the pretrained model on longer sequences, with positions stretched to fit."""

    training: TrainingSpec
    rope_theta: Positive | None = None
    rope_scaling: RopeScaling | None = None

    def model(self, pretrained: ModelSpec) -> ModelSpec:
        """The pretrained model with these positions."""
        changes = {name: getattr(self, name) for name in ("rope_theta", "rope_scaling")}
        given = {name: value for name, value in changes.items() if value is not None}
        return ModelSpec.model_validate({**pretrained.model_dump(), **given})


Branches = dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], BranchSpec]


def check_branches(training: TrainingSpec, branches: Branches) -> None:
    """``ValueError`` for a branch that the full run has no state for."""
    schedule = training.schedule
    if branches and schedule.kind not in ("wsd", "constant"):
        raise ValueError(f"branches: they leave a rate that stays: schedule 'wsd' or 'constant', not {schedule.kind!r}")
    stable = range(schedule.warmup_steps, training.steps - schedule.cooldown_steps + 1)
    for name, branch in branches.items():
        if branch.from_step not in training.branch_points:
            raise ValueError(
                f"branches.{name}: from_step {branch.from_step} is not one of training.branch_points "
                f"{list(training.branch_points)}"
            )
        if branch.from_step not in stable:
            raise ValueError(
                f"branches.{name}: from_step {branch.from_step}: the rate stays between the warm-up and the cooldown "
                f"of the full run, from step {stable.start} to {stable.stop - 1}"
            )
        try:
            branch.training(training)
        except ValidationError as error:
            raise ValueError(f"branches.{name}: {told(error)}") from None


def check_long_context(model: ModelSpec, training: TrainingSpec, longer: LongContextSpec) -> None:
    """``ValueError`` for an extension that extends nothing."""
    length, before = longer.training.sequence_length, training.sequence_length
    if length <= before:
        raise ValueError(f"long_context.training: sequence_length {length} is not above the full run's {before}")
    if model.max_positions is not None and length > model.max_positions:
        raise ValueError(
            f"long_context.training: sequence_length {length} is above model.max_positions {model.max_positions}: "
            "learned positions can't be stretched"
        )
    try:
        stretched = longer.model(model)
    except ValidationError as error:
        raise ValueError(f"long_context: {told(error)}") from None
    check_lengths(stretched, longer.training, "long_context.")
