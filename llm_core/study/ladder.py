"""The runs of a study: for each size a trunk in segments, and a cooldown for each budget.

A segment continues the trunk from the state at which the one before it ended. Nothing in it depends on what comes
later, so a study that grows trains only what is new.
"""

from dataclasses import dataclass
from functools import cached_property

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Spec
from llm_core.experiment.continuation import BranchSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.narrowing import narrowed
from llm_core.experiment.study import StudySize, StudySpec
from llm_core.experiment.training import TrainingSpec
from llm_core.model.accounting import scaling_parameters
from llm_core.train.preflight import run_flops


class StudyRun(Spec):
    """What the laws know about one run, beside its loss."""

    role: str
    """The role of its artifact among the inputs of a stage."""
    width: int
    seed: int
    parameters: int
    """Those that multiply every token: matrices and head."""
    steps: int
    tokens: int
    flops: int
    rate: float
    """The peak learning rate."""
    multiple: float
    """``rate`` as a multiple of the size's own."""
    idea: str = ""
    """The idea that it tries; empty: the launched recipe."""


@dataclass(frozen=True)
class LadderStage:
    """A stage that trains: from new weights, or from the state of another stage at ``from_step``."""

    name: str
    description: str
    model: ModelSpec
    training: TrainingSpec
    seed: int
    start: str | None = None
    from_step: int = 0


@dataclass(frozen=True)
class Ladder:
    """All runs of a study.

    ``stages``: in an order in which each follows what it starts from. ``runs``: the cooled-down runs of the sizes' own
    rate; ``trunks``: the segments, which have the loss of a constant rate; ``rate_runs``: the runs of the sweeps, with
    those of ``runs`` that they are compared with; ``idea_runs``: those that try an idea,
    and those of the launched recipe at the same sizes.
    """

    stages: tuple[LadderStage, ...]
    runs: tuple[StudyRun, ...]
    trunks: tuple[StudyRun, ...]
    rate_runs: tuple[StudyRun, ...]
    idea_runs: tuple[StudyRun, ...]
    flops: int
    """Of all stages."""


def ladder(study: StudySpec, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int) -> Ladder:
    """The runs of ``study`` for the launched ``model`` and ``training``.

    ``PedigreeError`` for a size that the model can't have, and for budgets that are too small.
    """
    if training.schedule.kind != "wsd":
        raise PedigreeError(
            f"study: its trunks have a constant rate, so the launched schedule must be wsd, and not "
            f"{training.schedule.kind}; give training.schedule: {{kind: wsd, …}}"
        )
    try:
        ideas = {idea: study.changed(idea, model, training) for idea in study.ideas}
    except ValueError as error:
        raise PedigreeError(f"study.{error}") from None
    parts = []
    for size in study.sizes:
        own = _Size(study, size, model, training, vocab_size, seed)
        parts.append(own.runs())
        if size.ideas:
            parts += [
                _Size(study, size, *changed, vocab_size, seed, idea, own.parameters).idea_runs()
                for idea, changed in ideas.items()
            ]
    return _joined(parts)


def _joined(parts: list[Ladder]) -> Ladder:
    return Ladder(
        tuple(stage for part in parts for stage in part.stages),
        tuple(run for part in parts for run in part.runs),
        tuple(run for part in parts for run in part.trunks),
        tuple(run for part in parts for run in part.rate_runs),
        tuple(run for part in parts for run in part.idea_runs),
        sum(part.flops for part in parts),
    )


@dataclass(frozen=True)
class _Size:
    study: StudySpec
    size: StudySize
    launched: ModelSpec
    training: TrainingSpec
    vocab_size: int
    first_seed: int
    idea: str = ""
    budget_parameters: int | None = None
    """The parameters that decide the budgets; by default its own. An idea has the launched recipe's budgets."""

    @cached_property
    def model(self) -> ModelSpec:
        return narrowed(self.launched, self.size.width)

    @cached_property
    def parameters(self) -> int:
        return scaling_parameters(self.model, self.vocab_size)

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.size.seeds)

    def runs(self) -> Ladder:
        """The trunks, the cooldowns, and the sweep: with the first seed, or all of them beside ideas."""
        parts = [self._of_seed(seed) for seed in self.seeds]
        last = [part.runs[-1] for part in parts]
        swept = [self._sweep(run.seed) for run in (last if self.size.ideas else last[:1])] if self.size.rates else []
        rate_runs = (*last[: len(swept)], *[run for part in swept for run in part.rate_runs])
        compared = tuple(dict.fromkeys((*last, *rate_runs))) if self.size.ideas else ()
        stages = tuple(stage for part in swept for stage in part.stages)
        return _joined([*parts, Ladder(stages, (), (), rate_runs, compared, sum(part.flops for part in swept))])

    def idea_runs(self) -> Ladder:
        """The runs of the idea: all seeds, at all rates."""
        stages = [self._whole_run(seed, multiple) for seed in self.seeds for multiple in (1.0, *self.size.rates)]
        found = tuple(self._run(stage, multiple) for stage, multiple in stages)
        return Ladder(tuple(stage for stage, _ in stages), (), (), (), found, sum(self._flops(s) for s, _ in stages))

    def _of_seed(self, seed: int) -> Ladder:
        stages: list[LadderStage] = []
        runs, trunks, flops = [], [], 0
        before: LadderStage | None = None
        place = self._place(seed)
        for steps, cooled in self._budgets():
            stays = steps - cooled
            trunk = self._spec(stays, 0).model_copy(update={"branch_points": (stays,)})
            if before is not None and before.training.steps >= stays:
                raise PedigreeError(
                    f"study: width {self.size.width}: the trunk of a budget of {steps} steps ends at step {stays}, "
                    f"which is not after that of the budget before it ({before.training.steps}); take budgets that "
                    "differ more"
                )
            segment = LadderStage(
                f"scaling_runs/{place}_trunk_{stays}",
                f"The trunk of width {self.size.width}, at a constant rate until step {stays}.",
                self.model,
                trunk,
                seed,
                before.name if before else None,
                before.training.steps if before else 0,
            )
            cooldown = BranchSpec(from_step=stays, steps=cooled, final_share=self._final_share())
            branch = LadderStage(
                f"scaling_runs/{place}_steps_{steps}",
                f"The trunk of width {self.size.width}, cooled down from step {stays} to {steps}.",
                self.model,
                cooldown.training(trunk),
                seed,
                segment.name,
                stays,
            )
            stages += [segment, branch]
            runs.append(self._run(branch, 1.0))
            trunks.append(self._run(segment, 1.0))
            flops += self._flops(segment) + self._flops(branch)
            before = segment
        return Ladder(tuple(stages), tuple(runs), tuple(trunks), (), (), flops)

    def _sweep(self, seed: int) -> Ladder:
        stages = [self._whole_run(seed, multiple) for multiple in self.size.rates]
        found = tuple(self._run(stage, multiple) for stage, multiple in stages)
        return Ladder(tuple(stage for stage, _ in stages), (), (), found, (), sum(self._flops(s) for s, _ in stages))

    def _whole_run(self, seed: int, multiple: float) -> tuple[LadderStage, float]:
        """A run of the last budget by itself, at a multiple of the size's rate."""
        steps, cooled = self._budgets()[-1]
        spec = self._spec(steps, cooled)
        optimizer = spec.optimizer.model_copy(update={"lr": spec.optimizer.lr * multiple})
        of_rate = "" if multiple == 1 else f"_times_{_name(multiple)}"
        rate = "the learning rate of its size" if multiple == 1 else f"{multiple:g} times the rate of its size"
        stage = LadderStage(
            f"idea_runs/{self.idea}/{self._place(seed)}{of_rate}"
            if self.idea
            else f"rate_runs/{self._place(seed)}{of_rate}",
            f"Width {self.size.width}{f' with the idea {self.idea}' if self.idea else ''}, {steps} steps, at {rate}.",
            self.model,
            spec.model_copy(update={"optimizer": optimizer}),
            seed,
        )
        return stage, multiple

    def _place(self, seed: int) -> str:
        return f"width_{self.size.width}" + ("" if seed == self.first_seed else f"_seed_{seed}")

    def _budgets(self) -> list[tuple[int, int]]:
        """(all steps, steps of the cooldown) of each budget."""
        batch = self._spec(None, 0).batch_tokens
        steps = [round(tokens / batch) for tokens in self.study.budgets(self.budget_parameters or self.parameters)]
        return [(count, max(1, round(self.study.cooldown * count))) for count in steps]

    def _spec(self, steps: int | None, cooled: int) -> TrainingSpec:
        ratio = self.launched.d_model / self.size.width
        try:
            probe = self.study.of(self.training, ratio, self.training.tokens, 0)
            return probe if steps is None else self.study.of(self.training, ratio, probe.tokens_of(steps), cooled)
        except ValueError as error:
            raise PedigreeError(f"study: width {self.size.width}: {error}") from None

    def _final_share(self) -> float:
        return float(self._spec(None, 0).schedule.final_share)  # type: ignore[attr-defined]

    def _flops(self, stage: LadderStage) -> int:
        return run_flops(stage.model, stage.training, self.vocab_size, stage.from_step)

    def _run(self, stage: LadderStage, multiple: float) -> StudyRun:
        return StudyRun(
            role=stage.name,
            width=self.size.width,
            seed=stage.seed,
            parameters=self.parameters,
            steps=stage.training.steps,
            tokens=stage.training.tokens_of(stage.training.steps),
            flops=run_flops(stage.model, stage.training, self.vocab_size),
            rate=stage.training.optimizer.lr,
            multiple=multiple,
            idea=self.idea,
        )


def _name(multiple: float) -> str:
    """A number as part of an asset key: 0.5 → ``0p5``."""
    return f"{multiple:g}".replace(".", "p").replace("-", "m").replace("+", "")
