"""The runs of a study: for each size a trunk in segments, and a cooldown for each budget.

A segment continues the trunk from the state at which the one before it ended. Nothing in it depends on what comes
later, so a study that grows trains only what is new.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from llm_core.errors import PedigreeError
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.study import StudySpec
from llm_core.experiment.training import TrainingSpec
from llm_core.study.size_recipe import SizeRecipe
from llm_core.study.study_run import SAME_WEIGHTS, LadderStage, Part, StudyRun


@dataclass(frozen=True)
class Ladder:
    """All runs of a study, in an order in which each follows the one that it starts from."""

    stages: tuple[LadderStage, ...]

    def of(self, *parts: Part) -> tuple[StudyRun, ...]:
        """The runs of these parts, of the launched recipe and of ideas."""
        return tuple(stage.run for stage in self.stages if stage.part in parts)

    def compared(self, *parts: Part) -> tuple[StudyRun, ...]:
        """The runs of these parts, after those that they are compared with: of the same size and initial weights, with
        its last budget and its own rate. (For seeds that only ideas have, these are among the runs themselves.)"""
        others = self.of(*parts)
        last = {_weights(run): run for run in self.of("cooldown")}
        usual = [last[_weights(run)] for run in others if _weights(run) in last]
        return (*dict.fromkeys(usual), *others)

    def ablations(self) -> tuple[StudyRun, ...]:
        """The runs that try ideas, and those of the launched recipe at the same sizes."""
        ideas = self.compared("ideas")
        widths = {run.width for run in ideas}
        return (*ideas, *[run for run in self.of("rates") if run.width in widths])

    @property
    def flops(self) -> int:
        """FLOPs of all stages."""
        return sum(stage.flops for stage in self.stages)


def ladder(
    study: StudySpec,
    model: ModelSpec,
    training: TrainingSpec,
    vocab_size: int,
    seed: int,
    vocab_sizes: Mapping[str, int] | None = None,
) -> Ladder:
    """The runs of ``study`` for the launched ``model`` and ``training``.

    ``vocab_sizes``: idea → its vocabulary, for those that change it. Ideas have the tokens of the launched recipe.
    ``PedigreeError`` for a size that the model can't have, and for budgets that are too small.
    """
    try:
        ideas = {idea: study.changed(idea, model, training) for idea in study.ideas}
    except ValueError as error:
        raise PedigreeError(str(error)) from None
    vocabularies = vocab_sizes or {}
    stages: list[LadderStage] = []
    for size in study.sizes:
        own = SizeRecipe(study, size, model, training, vocab_size)
        budgets = own.budgets()
        tried = {
            idea: SizeRecipe(study, size, *changed, vocabularies.get(idea, vocab_size), idea)
            for idea, changed in ideas.items()
        }
        for number in range(size.seeds):
            stages += own.trunk_and_cooldowns(seed + number, number, budgets)
            if size.ideas or not number:
                stages += [own.whole("rates", seed + number, number, budgets[-1], multiple=rate) for rate in size.rates]
            if not number:
                stages += [own.whole("batches", seed, 0, budgets[-1], batches=times) for times in size.batches]
                stages += [own.whole("orders", seed, 0, budgets[-1], order=order) for order in range(1, size.orders)]
        if size.ideas:
            for number in range(max([size.seeds, *size.idea_seeds.values()])):
                stages += [
                    recipe.whole("ideas", seed + number, number, budgets[-1], multiple=rate)
                    for recipe in (*([own] if number >= size.seeds else []), *tried.values())
                    if not recipe.idea or number < size.idea_seeds.get(recipe.idea, size.seeds)
                    for rate in (1.0, *size.rates)
                ]
        if study.mixtures and study.mixtures.width == size.width:
            stages += own.mixtures(study.mixtures, seed, budgets[-1])
    return Ladder(tuple(stages))


def _weights(run: StudyRun) -> tuple[int, int]:
    """What decides the initial weights, within a study."""
    return run.width, run.seed % SAME_WEIGHTS
