"""A technique: how to switch it off and on in a recipe, where its code is, and what to know about it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import Field

from llm_core.experiment.base import Spec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec


class Recipe(NamedTuple):
    """The model of an experiment, and its training in a few steps."""

    model: ModelSpec
    training: TrainingSpec


class Side(Spec):
    """One side of a pair. ``compute``: overrides of that section. ``environment``: variables of its process."""

    model: ModelSpec
    training: TrainingSpec
    compute: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)


Overrides = Mapping[str, Any]
"""Section (``model``, ``training``, ``compute``) → overrides of its fields; ``environment`` → variables."""
Change = Overrides | Callable[[Recipe], Overrides]
"""A function raises ``ValueError`` with the reason where the technique does not fit the recipe."""
Effect = Literal["same", "changes", "own_rate"]
Need = Literal["", "cuda", "ranks"]


@dataclass(frozen=True)
class Technique:
    """A row of the table.

    ``off``, ``on``: changes of the recipe for the side before and the side after. All else is the recipe's, so the
    difference is that of this technique alone, whether the recipe has it or not.
    ``effect`` on the loss. ``same``: both sides compute the same numbers, but for rounding. ``changes``: another model
    or other updates, compared at equal tokens. ``own_rate``: the same, but with another best learning rate, so that a
    pair at one rate does not decide.
    ``code``: modules (``package.module``) and definitions (``package.module:name``) that implement it.
    ``part``: whether it is only a part of ``code``. ``needs``: what the machine must have. ``components``: the entries
    of registries that the row is about (``NORMS.rmsnorm``).
    """

    title: str
    versus: str
    off: Change
    on: Change
    effect: Effect
    code: tuple[str, ...]
    upkeep: str
    use: str
    skip: str
    source: str = ""
    part: bool = False
    needs: Need = ""
    components: tuple[str, ...] = ()
