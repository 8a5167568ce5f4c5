"""The optimisation table: pairs of short trainings, one stage per technique, and the table of all."""

from assets.release import PAGE_FILES
from assets.training import READ, TRAIN_PACKAGES, TRAINER
from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage
from llm_core.optimizations.sides import recipe_side, short_recipe, sides
from llm_core.optimizations.technique import Recipe, Side
from llm_core.optimizations.techniques import TECHNIQUES


def stages(experiment: Experiment) -> list[Stage]:
    """A stage per technique that fits the recipe, and the table; empty without ``optimizations``."""
    chosen = experiment.optimizations
    if chosen is None:
        return []
    if unknown := sorted(set(chosen.rows) - TECHNIQUES.keys()):
        raise PedigreeError(
            f"{experiment.name}: optimizations.rows: unknown {', '.join(unknown)}; known: {', '.join(TECHNIQUES)}"
        )
    recipe = short_recipe(experiment.model, experiment.full_run(), chosen.steps)
    pairs: dict[str, tuple[Side, Side]] = {}
    unfit: dict[str, str] = {}
    names = [name for name in TECHNIQUES if name in chosen.rows or not chosen.rows]
    for name in names:
        try:
            pairs[name] = sides(TECHNIQUES[name], recipe)
        except ValueError as error:
            unfit[name] = str(error)
    rows = [_row(experiment, name, pair) for name, pair in pairs.items()]
    return [*rows, _table(experiment, recipe, names, pairs, unfit)]


def _row(experiment: Experiment, name: str, pair: tuple[Side, Side]) -> Stage:
    chosen, technique = experiment.optimizations, TECHNIQUES[name]
    assert chosen is not None
    before, after = pair
    return Stage(
        name=f"optimizations/{name}",
        kind="optimization",
        group="optimizations",
        description=f"{technique.title}: {technique.versus}, in pairs of short trainings.",
        build="llm_core.optimizations.measure:build",
        results="llm_core.optimizations.results:Measured",
        non_blocking=(":same_numbers",),
        code=TRAINER,
        inputs=READ,
        config={
            "before": before,
            "after": after,
            "vocab_size": experiment.tokenizer.vocab_size,
            "seed": experiment.seed,
            "rounds": chosen.rounds,
            "same": technique.effect == "same",
            "needs": technique.needs,
        },
        packages=TRAIN_PACKAGES,
        volatile=("runs.json",),
    )


def _table(
    experiment: Experiment, recipe: Recipe, names: list[str], pairs: dict[str, tuple[Side, Side]], unfit: dict[str, str]
) -> Stage:
    chosen = experiment.optimizations
    assert chosen is not None
    return Stage(
        name="optimization_table",
        group="optimizations",
        description="One self-contained HTML page: what each technique costs and brings on this machine.",
        build="llm_core.report.optimization_table:build",
        results="llm_core.optimizations.results:OptimizationTable",
        non_blocking=(":something_measured",),
        code=PAGE_FILES,
        rebuild_when_damaged=True,
        inputs={name: f"optimizations/{name}" for name in pairs},
        config={
            "title": experiment.name,
            "names": names,
            "unfit": unfit,
            "in_recipe": {name: recipe_side(*pair, recipe) for name, pair in pairs.items()},
            "tokens": recipe.training.tokens,
            "margin": chosen.margin,
            "loss_margin": chosen.loss_margin,
        },
        volatile=("*",),
    )
