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
    those of ``runs`` that they are compared with.
    """

    stages: tuple[LadderStage, ...]
    runs: tuple[StudyRun, ...]
    trunks: tuple[StudyRun, ...]
    rate_runs: tuple[StudyRun, ...]
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
    return _joined([_Size(study, size, model, training, vocab_size, seed).runs() for size in study.sizes])


def _joined(parts: list[Ladder]) -> Ladder:
    return Ladder(
        tuple(stage for part in parts for stage in part.stages),
        tuple(run for part in parts for run in part.runs),
        tuple(run for part in parts for run in part.trunks),
        tuple(run for part in parts for run in part.rate_runs),
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

    @cached_property
    def model(self) -> ModelSpec:
        return narrowed(self.launched, self.size.width)

    @cached_property
    def parameters(self) -> int:
        return scaling_parameters(self.model, self.vocab_size)

    def runs(self) -> Ladder:
        seeds = [self._of_seed(self.first_seed + number) for number in range(self.size.seeds)]
        swept = self._sweep(seeds[0].runs[-1])
        return _joined([*seeds, swept])

    def _of_seed(self, seed: int) -> Ladder:
        stages: list[LadderStage] = []
        runs, trunks, flops = [], [], 0
        before: LadderStage | None = None
        place = f"width_{self.size.width}" + ("" if seed == self.first_seed else f"_seed_{seed}")
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
        return Ladder(tuple(stages), tuple(runs), tuple(trunks), (), flops)

    def _sweep(self, middle: StudyRun) -> Ladder:
        if not self.size.rates:
            return Ladder((), (), (), (), 0)
        steps, cooled = self._budgets()[-1]
        stages, runs = [], [middle]
        for multiple in sorted(self.size.rates):
            spec = self._spec(steps, cooled)
            optimizer = spec.optimizer.model_copy(update={"lr": spec.optimizer.lr * multiple})
            stage = LadderStage(
                f"rate_runs/width_{self.size.width}_times_{_name(multiple)}",
                f"Width {self.size.width}, {steps} steps, at {multiple:g} times the learning rate of its size.",
                self.model,
                spec.model_copy(update={"optimizer": optimizer}),
                self.first_seed,
            )
            stages.append(stage)
            runs.append(self._run(stage, multiple))
        return Ladder(tuple(stages), (), (), tuple(runs), sum(map(self._flops, stages)))

    def _budgets(self) -> list[tuple[int, int]]:
        """(all steps, steps of the cooldown) of each budget."""
        batch = self._spec(None, 0).batch_tokens
        steps = [round(tokens / batch) for tokens in self.study.budgets(self.parameters)]
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
        )


def _name(multiple: float) -> str:
    """A number as part of an asset key: 0.5 → ``0p5``."""
    return f"{multiple:g}".replace(".", "p").replace("-", "m").replace("+", "")
