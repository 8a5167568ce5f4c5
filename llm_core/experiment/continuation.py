"""The sections that describe what goes on from the full run: cooldown branches, and longer contexts."""

import math
from typing import Annotated

from pydantic import Field, ValidationError

from llm_core.experiment.base import Count, Share, Spec, told
from llm_core.experiment.layers import Positive, RopeScaling
from llm_core.experiment.lengths import check_lengths
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec


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
    for name, branch in branches.items():
        if branch.from_step not in training.branch_points:
            raise ValueError(
                f"branches.{name}: from_step {branch.from_step} is not one of training.branch_points "
                f"{list(training.branch_points)}"
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
    for name in ("rope_theta", "rope_scaling"):
        if getattr(longer, name) is not None:
            _check_reach(model, stretched, name)
    if longer.rope_scaling is not None:
        _check_factor(model, longer.rope_scaling, before, length, longer.rope_theta is not None)


def _check_reach(model: ModelSpec, stretched: ModelSpec, name: str) -> None:
    """``ValueError`` where ``rope_theta`` or ``rope_scaling`` stretches no layer, or leaves one that sees all tokens as
    it was. One with a window sees no further than before, and may keep what its entry of ``pattern`` says."""
    turning = [layer for layer in model.layers if layer.position == "rope" and layer.mixer in ("attention", "mla")]
    kept = [layer for layer in turning if getattr(layer, name) == getattr(stretched.layers[layer.index], name)]
    if not turning:
        raise ValueError(f"long_context.{name}: no layer with attention has position 'rope': leave it out")
    missed = [layer for layer in kept if layer.window is None] or (kept if len(kept) == len(turning) else [])
    if missed:
        raise ValueError(
            f"long_context.{name}: layer {missed[0].index} keeps its own: give another value than the model's, and "
            f"leave {name} out of the model's pattern"
        )


def _check_factor(model: ModelSpec, scaling: RopeScaling, before: int, length: int, rebased: bool) -> None:
    """``ValueError`` for a scaling from another length than the full run's, or to less than ``length``."""
    original = scaling.original_length
    if model.rope_scaling is None:  # or else this takes its place, and begins where that began
        if scaling.kind in ("llama3", "yarn") and original != before:
            raise ValueError(
                f"long_context.rope_scaling.original_length {original}: the full run has sequences of {before} tokens "
                f"(training.sequence_length): make it {before}"
            )
        original = before
    # llama3's factor is not the ratio of lengths, and with another base as well the factor is only a part.
    if not rebased and scaling.kind != "llama3" and scaling.factor * original < length:
        raise ValueError(
            f"long_context.rope_scaling.factor {scaling.factor}: {original} tokens become {scaling.factor * original:g}"
            f", and a sequence has {length} (long_context.training.sequence_length): make it "
            f"{math.ceil(100 * length / original) / 100:g} or more"
        )
