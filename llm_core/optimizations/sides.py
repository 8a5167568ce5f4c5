"""Both sides of a technique, from the recipe of an experiment."""

from typing import Any

from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical, from_plain, told
from llm_core.experiment.component import over
from llm_core.experiment.lengths import check_lengths
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.optimizations.technique import Change, Recipe, Side, Technique

UNTIMED = 0.25
"""The share of the steps at the beginning that are not timed."""

_FOR_LAYERS = ("mixer", "feed_forward", "norm_placement", "stream_scales", "pattern")
"""Fields of a model that act through its layers only."""


def short_recipe(model: ModelSpec, training: TrainingSpec, steps: int) -> Recipe:
    """The recipe for a few steps: at full batch and length, with a rate that stays after its warm-up, without phases.

    It has one validation, after the last step.
    """
    changes = {
        "tokens": steps * training.batch_tokens,
        "schedule": {"kind": "constant", "warmup_steps": round(UNTIMED * steps)},
        "validate_every": steps,
        "sequence_schedule": [],
        "batch_schedule": [],
        "branch_points": [],
        "superposition": None,
    }
    return Recipe(model, from_plain(TrainingSpec, {**training.model_dump(mode="json"), **changes}))


def sides(technique: Technique, recipe: Recipe) -> tuple[Side, Side]:
    """The side before and the side after. ``ValueError`` with the reason where it does not fit the recipe."""
    before, after = _side(technique.off, recipe), _side(technique.on, recipe)
    if _resolved(before) == _resolved(after):
        raise ValueError("both sides are the same: the pattern of the recipe sets it itself")
    return before, after


def recipe_side(before: Side, after: Side, recipe: Recipe) -> str:
    """Which side has the recipe's model and training: ``before``, ``after``, ``both`` or ``neither``."""
    own = _resolved(Side(model=recipe.model, training=recipe.training))
    alike = [
        name
        for name, side in (("before", before), ("after", after))
        if all(_resolved(side)[part] == own[part] for part in ("model", "layers", "training"))
    ]
    return alike[0] if len(alike) == 1 else "both" if alike else "neither"


def _resolved(side: Side) -> dict[str, Any]:
    """The side with its layers as they are built, instead of the settings that they follow from."""
    plain = canonical(side)
    model = {name: value for name, value in plain["model"].items() if name not in _FOR_LAYERS}
    return {**plain, "model": model, "layers": [canonical(layer) for layer in side.model.layers]}


def _side(change: Change, recipe: Recipe) -> Side:
    try:
        changes = dict(change(recipe) if callable(change) else change)
        model = _changed(recipe.model, changes.get("model", {}))
        training = _changed(recipe.training, changes.get("training", {}))
        check_lengths(model, training)
    except ValidationError as error:
        raise ValueError(told(error)) from None
    except PedigreeError as error:
        raise ValueError(str(error)) from None
    rest = {name: changes.get(name, {}) for name in ("compute", "environment")}
    return Side(model=model, training=training, **rest)


def _changed(section: Any, changes: Any) -> Any:
    plain = section.model_dump(mode="json")
    merged = {name: over(plain.get(name), value) for name, value in changes.items()}
    return from_plain(type(section), {**plain, **merged})
