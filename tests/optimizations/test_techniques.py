"""The rows of the table: complete, about one thing each, and with code that exists."""

from pathlib import Path

import pytest

from assets.graph import experiment_graph
from llm_core import registries
from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.optimizations import OptimizationsSpec
from llm_core.optimizations import lines_of_code as counting
from llm_core.optimizations.lines_of_code import lines_of_code
from llm_core.optimizations.sides import recipe_side, short_recipe, sides
from llm_core.optimizations.technique import Recipe
from llm_core.optimizations.techniques import TECHNIQUES, WITHOUT_ROW
from pipelines.experiments import open_experiment
from tests.registered import built_in

ABOUT = (
    *("MIXERS", "NORMS", "POSITIONS", "ABSOLUTE_POSITIONS", "FEED_FORWARDS"),
    *("OPTIMIZERS", "SCHEDULES", "PACKINGS"),
)
"""The registries of what a model and its updates consist of."""


@pytest.fixture(scope="module")
def tiny() -> Experiment:
    return open_experiment("tiny")


@pytest.fixture(scope="module")
def recipe(tiny: Experiment) -> Recipe:
    return short_recipe(tiny.model, tiny.training, 8)


def test_every_component_has_a_row_or_a_reason() -> None:
    rows = [component for technique in TECHNIQUES.values() for component in technique.components]
    every = {f"{name}.{kind}" for name in ABOUT for kind in built_in(getattr(registries, name))}
    assert sorted([*rows, *WITHOUT_ROW]) == sorted(every)


def test_all_code_exists() -> None:
    assert all(lines_of_code(technique.code) > 0 for technique in TECHNIQUES.values())
    with pytest.raises(KeyError):
        lines_of_code(["llm_core.model.block:Gone"])


def test_lines_are_those_of_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package").mkdir()
    function = '@mark\ndef two():\n    """Text."""\n    # why\n\n    return (\n        2\n    )\n'
    (tmp_path / "package" / "module.py").write_text(f'"""About\nit."""\n\nONE = 1  # counts\n\n\n{function}')
    monkeypatch.setattr(counting, "PROJECT", tmp_path)
    assert lines_of_code(["package.module"]) == 6
    assert lines_of_code(["package.module:two"]) == 5
    assert lines_of_code(["package.module:ONE", "package.module:two"]) == 6


def test_the_sides_differ_in_the_technique_alone(recipe: Recipe) -> None:
    for name, technique in TECHNIQUES.items():
        try:
            before, after = (canonical(side) for side in sides(technique, recipe))
        except ValueError as error:
            assert (name, str(error)) == ("grouped_experts", "the recipe has no experts")
            continue
        same_weights = before["model"] == after["model"] and before["training"] == after["training"]
        assert same_weights == (technique.effect == "same"), name
        sections = ("model", "training", "compute", "environment")
        assert sum(before[section] != after[section] for section in sections) == 1, name


@pytest.mark.parametrize(
    ("name", "side"), [("gqa", "after"), ("mqa", "neither"), ("window", "before"), ("compile", "both")]
)
def test_it_is_known_which_side_the_recipe_is(recipe: Recipe, name: str, side: str) -> None:
    assert recipe_side(*sides(TECHNIQUES[name], recipe), recipe) == side


def test_a_feed_forward_keeps_its_parameters(recipe: Recipe) -> None:
    from llm_core.model.accounting import parameter_count

    for name in ("swiglu", "relu2", "rwkv4_channel_mix", "rwkv7_channel_mix"):
        before, after = (parameter_count(side.model, 4096).total for side in sides(TECHNIQUES[name], recipe))
        assert after == pytest.approx(before, rel=0.01), name


def test_a_technique_that_does_not_fit_says_why(recipe: Recipe) -> None:
    shaped = recipe.model.model_validate({**recipe.model.model_dump(mode="json"), "mixer": "liv"})
    other = Recipe(shaped, recipe.training)
    with pytest.raises(ValueError, match="the recipe's mixer is liv, and this is about attention"):
        sides(TECHNIQUES["gqa"], other)
    masked = {**recipe.model.model_dump(mode="json"), "pattern": [{"mixer": {"qk_norm": True}}]}
    with pytest.raises(ValueError, match="both sides are the same: the pattern of the recipe sets it itself"):
        sides(TECHNIQUES["qk_norm"], Recipe(recipe.model.model_validate(masked), recipe.training))


def test_an_experiment_without_the_section_has_no_stage_of_it(tiny: Experiment) -> None:
    assert not [stage.name for stage in experiment_graph(tiny) if stage.group == "optimizations"]
    chosen = OptimizationsSpec(rows=("gqa", "grouped_experts"))
    graph = experiment_graph(tiny.model_copy(update={"optimizations": chosen}))
    assert [stage.name for stage in graph if stage.group == "optimizations"] == [
        "optimizations/gqa",
        "optimization_table",
    ]
    assert graph["optimization_table"].config["unfit"] == {"grouped_experts": "the recipe has no experts"}
    unknown = tiny.model_copy(update={"optimizations": OptimizationsSpec(rows=("gaq",))})
    with pytest.raises(PedigreeError, match=r"tiny: optimizations\.rows: unknown gaq; known: accumulation, "):
        experiment_graph(unknown)
