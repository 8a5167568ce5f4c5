"""The sections about runs that continue the full run: cooldown branches, and longer contexts."""

import json
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import Field, ValidationError

from llm_core.experiment.base import Count, Share, Spec, told
from llm_core.experiment.component import KindOf, over
from llm_core.experiment.layers import MixerSpec, PositionSpec
from llm_core.experiment.lengths import check_lengths
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.registries import MIXERS


class BranchSpec(Spec):
    """A cooldown from a step of the full run (Hägele et al., 2024): one trunk at the full rate serves many budgets."""

    from_step: Count
    """One of ``training.branch_points``."""
    steps: Count
    """Steps of the cooldown."""
    final_share: Share = 0.0
    """The schedule's value one step after the end, as in ``schedule``."""

    def training(self, trunk: TrainingSpec) -> TrainingSpec:
        """The training of the whole branch from step 0: equal to the trunk except for its end."""
        schedule = {
            "kind": "wsd",
            "warmup_steps": trunk.schedule.warmup_steps,
            "cooldown_steps": self.steps,
            "final_share": self.final_share,
        }
        changes = {
            "schedule": schedule,
            "tokens": trunk.tokens_of(self.from_step + self.steps),
            "branch_points": (),
        }
        return TrainingSpec.model_validate({**trunk.model_dump(), **changes})


class LongContextSpec(Spec):
    """Training of the pretrained model on longer sequences, with stretched positions."""

    training: TrainingSpec
    position: dict[str, Any] | None = None
    """Settings that override those of the mixers' positions: ``{theta: 5e6}``. Kinds without settings do not change.
    Neither do settings that an entry of the model's ``pattern`` changes in the model's own mixer."""

    def model(self, pretrained: ModelSpec) -> ModelSpec:
        """The pretrained model with these positions."""
        if self.position is None:
            return pretrained
        plain = pretrained.model_dump(mode="json")
        base = plain["mixer"]
        for entry in plain["pattern"]:
            if "mixer" in entry:
                mixer = entry["mixer"]
                own = over(base, {"kind": mixer} if isinstance(mixer, str) else mixer)
                if _kinds(own) != _kinds(base):  # equal kinds inherit them from the model's mixer
                    entry["mixer"] = self._stretched(own)
        return ModelSpec.model_validate_json(json.dumps({**plain, "mixer": self._stretched(base)}))

    def _stretched(self, mixer: dict[str, Any]) -> dict[str, Any]:
        stretched: dict[str, Any] = over(mixer, {"position": self.position}) if _settings(_mixer(mixer)) else mixer
        return stretched


def _mixer(plain: dict[str, Any]) -> MixerSpec:
    made: Any = KindOf(MIXERS).made(plain)
    return made


def _settings(mixer: MixerSpec) -> set[str]:
    """The names of the settings of its position."""
    position = mixer.position_of()
    return set() if position is None else position.model_dump().keys() - {"kind"}


def _kinds(mixer: dict[str, Any]) -> tuple[str, str | None]:
    position = _mixer(mixer).position_of()
    return mixer["kind"], None if position is None else position.kind


Branches = dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], BranchSpec]


def check_branches(training: TrainingSpec, branches: Branches) -> None:
    """Raise ``ValueError`` for a branch that starts from a step without a saved state."""
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
    """Raise ``ValueError`` for sequences that are not longer, and positions that can't reach them."""
    length, before = longer.training.sequence_length, training.sequence_length
    if length <= before:
        raise ValueError(f"long_context.training: sequence_length {length} is not above the full run's {before}")
    longest = model.longest()
    if longest is not None and length > longest:
        raise ValueError(
            f"long_context.training: sequence_length {length}: the model can read {longest} tokens (by "
            "absolute_position, or a mixer's max_length), and this can't be stretched"
        )
    try:
        stretched = longer.model(model)
    except ValidationError as error:
        raise ValueError(f"long_context: {told(error)}") from None
    check_lengths(stretched, longer.training, "long_context.")
    if longer.position is not None:
        _check_reach(model, stretched, longer.position)
        for old, new in zip(_positions(model), _positions(stretched), strict=True):
            try:
                new.check_stretched(old, before, length)
            except ValueError as error:
                raise ValueError(f"long_context.position.{error}") from None


def _positions(model: ModelSpec) -> list[PositionSpec]:
    return [position for layer in model.layers if (position := layer.mixer.position_of()) is not None]


def _check_reach(model: ModelSpec, stretched: ModelSpec, settings: Collection[str]) -> None:
    """Raise ``ValueError`` when position ``settings`` stretch no layer, or miss a layer with full attention. A layer
    with a window sees no further than before, so it may keep the settings of its ``pattern`` entry."""
    pairs = [
        (layer.index, layer.mixer, stretched.layers[layer.index].mixer)
        for layer in model.layers
        if _settings(layer.mixer)
    ]
    if not pairs:
        raise ValueError("long_context.position: no layer with attention has a position with settings: leave it out")
    for name in settings:
        kept = [(index, old) for index, old, new in pairs if _setting(old, name) == _setting(new, name)]
        missed = [index for index, old in kept if getattr(old, "window", None) is None]
        missed = missed or ([index for index, _ in kept] if len(kept) == len(pairs) else [])
        if missed and name != "kind":
            raise ValueError(
                f"long_context.position.{name}: layer {missed[0]} keeps its own: give another value than the model's, "
                f"and leave {name} out of the model's pattern"
            )


def _setting(mixer: MixerSpec, name: str) -> Any:
    return getattr(mixer.position_of(), name, None)
