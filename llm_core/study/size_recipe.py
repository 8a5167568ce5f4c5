"""The runs of one size of a study: trunk and cooldowns, rates, batches, orders, ideas and mixtures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.experiment.continuation import BranchSpec
from llm_core.experiment.lengths import check_phases
from llm_core.experiment.mixtures import MixturesSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.narrowing import narrowed
from llm_core.experiment.study import StudySize, StudySpec
from llm_core.experiment.training import MixtureSpec, TrainingSpec
from llm_core.model.accounting import scaling_parameters
from llm_core.science.simplex import spread
from llm_core.study.study_run import SAME_WEIGHTS, LadderStage, Part, StudyRun
from llm_core.train.preflight import run_flops


@dataclass(frozen=True)
class SizeRecipe:
    """The runs of one size, with the launched recipe or an idea."""

    study: StudySpec
    size: StudySize
    launched: ModelSpec
    training: TrainingSpec
    vocab_size: int
    idea: str = ""

    @cached_property
    def model(self) -> ModelSpec:
        """The launched model at this width."""
        return narrowed(self.launched, self.size.width)

    @cached_property
    def parameters(self) -> int:
        """Those that multiply every token."""
        return scaling_parameters(self.model, self.vocab_size)

    def budgets(self) -> list[int]:
        """Tokens of each budget, a whole number of batches."""
        batch = self._spec(self.training.tokens, 0).batch_tokens
        found = [batch * round(tokens / batch) for tokens in self.study.budgets(self.parameters)]
        self._whole_spec(found[-1])
        return found

    def trunk_and_cooldowns(self, seed: int, number: int, budgets: Sequence[int]) -> Iterator[LadderStage]:
        """For each budget, a segment of the trunk, and the cooldown from its end."""
        place, before = self._place(number), None
        for tokens in budgets:
            whole = self._spec(tokens, 0)
            cooled = self._cooldown(whole.steps)
            stays = whole.steps - cooled
            trunk = self._spec(whole.tokens_of(stays), 0).model_copy(update={"branch_points": (stays,)})
            if before is not None and before.training.steps >= stays:
                raise PedigreeError(
                    f"study: width {self.size.width}: the trunk of a budget of {whole.steps} steps ends at step "
                    f"{stays}, which is not after that of the budget before it ({before.training.steps}); take budgets "
                    "that differ more"
                )
            segment = self._stage(
                "trunk",
                f"scaling_runs/{place}_trunk_{stays}",
                f"The trunk of width {self.size.width}, at a constant rate until step {stays}.",
                trunk,
                seed,
                start=before.name if before else None,
                from_step=before.training.steps if before else 0,
            )
            final_share: float = trunk.schedule.final_share  # type: ignore[attr-defined]
            branch = BranchSpec(from_step=stays, steps=cooled, final_share=final_share)
            yield segment
            yield self._stage(
                "cooldown",
                f"scaling_runs/{place}_steps_{whole.steps}",
                f"The trunk of width {self.size.width}, cooled down from step {stays} to {whole.steps}.",
                branch.training(trunk),
                seed,
                start=segment.name,
                from_step=stays,
            )
            before = segment

    def whole(
        self,
        part: Part,
        seed: int,
        number: int,
        tokens: int,
        *,
        multiple: float = 1.0,
        batches: float = 1.0,
        order: int = 0,
    ) -> LadderStage:
        """A run by itself: at ``multiple`` times the rate of its size, with ``batches`` times its batch, or with the
        initial weights of ``seed`` and another ``order``."""
        spec = self._whole_spec(tokens, batches)
        optimizer = spec.optimizer.model_copy(update={"lr": spec.optimizer.lr * multiple})
        # Seeds that only some ideas have need a run of the launched recipe too, which no law takes.
        ideas = f"idea_runs/{self.idea}" if self.idea else "compared_runs"
        folders = {"rates": "rate_runs", "batches": "batch_runs", "orders": "order_runs", "ideas": ideas}
        times = multiple * batches
        last = f"_order_{order + 1}" if order else "" if times == 1 else f"_times_{_name(times)}"
        of_idea = f" with {self.idea}" if self.idea else ""
        what = "the batch" if part == "batches" else "the learning rate"
        how = "with another order of data" if order else f"at {times:g} times {what} of its size"
        return self._stage(
            part,
            f"{folders[part]}/{self._place(number)}{last}",
            f"Width {self.size.width}{of_idea}, {how}.",
            spec.model_copy(update={"optimizer": optimizer}),
            (seed + order * SAME_WEIGHTS) % (1 << 63),
            multiple=multiple,
        )

    def mixtures(self, mixtures: MixturesSpec, seed: int, tokens: int) -> Iterator[LadderStage]:
        """A run of each mixture, and more seeds of those that are held out."""
        spec = self._whole_spec(tokens)
        for number, shares in enumerate(mixed(mixtures, seed)):
            weights = list(zip(mixtures.sources, shares, strict=True))
            mixture = MixtureSpec(weights=dict(weights), max_epochs=mixtures.max_epochs)
            for other in range(mixtures.seeds if number < mixtures.held_out else 1):
                yield self._stage(
                    "mixtures",
                    f"mixture_runs/mixture_{number + 1}/{self._place(other)}",
                    f"Width {self.size.width} with mixture {number + 1} of the sources.",
                    spec.model_copy(update={"mixture": mixture}),
                    seed + other,
                    weights=weights,
                )

    def _place(self, number: int) -> str:
        return f"width_{self.size.width}" + (f"_seed_{number + 1}" if number else "")

    def _whole_spec(self, tokens: int, batches: float = 1.0) -> TrainingSpec:
        steps = self._spec(tokens, 0, batches).steps
        spec = self._spec(tokens, self._cooldown(steps), batches)
        try:
            check_phases(spec)
        except ValueError as error:
            raise PedigreeError(f"{self._where}: {error}") from None
        return spec

    def _cooldown(self, steps: int) -> int:
        return max(1, round(self.study.cooldown * steps))

    def _spec(self, tokens: int, cooled: int, batches: float = 1.0) -> TrainingSpec:
        try:
            ratio = self.study.rate_ratio(self.launched, self.size.width)
            return self.study.of(self.training, ratio, tokens, cooled, batches)
        except ValueError as error:
            raise PedigreeError(f"{self._where}: {error}") from None

    @property
    def _where(self) -> str:
        return f"study{f'.ideas.{self.idea}' if self.idea else ''}: width {self.size.width}"

    def _stage(
        self,
        part: Part,
        name: str,
        description: str,
        training: TrainingSpec,
        seed: int,
        *,
        start: str | None = None,
        from_step: int = 0,
        multiple: float = 1.0,
        weights: Sequence[tuple[str, float]] = (),
    ) -> LadderStage:
        run = StudyRun(
            role=name,
            width=self.size.width,
            seed=seed,
            parameters=self.parameters,
            steps=training.steps,
            tokens=training.tokens_of(training.steps),
            batch=training.batch_tokens,
            flops=run_flops(self.model, training, self.vocab_size),
            rate=training.optimizer.lr,
            multiple=multiple,
            idea=self.idea,
            weights=tuple(weights),
        )
        own = run_flops(self.model, training, self.vocab_size, from_step)
        return LadderStage(part, name, description, self.model, training, seed, run, own, start, from_step)


def mixed(mixtures: MixturesSpec, seed: int, count: int = 0) -> list[list[float]]:
    """The shares of the sources of each mixture; with ``count``, of up to so many. ``PedigreeError`` for bounds that
    leave too little room."""
    most = np.array([mixtures.most.get(source, 1.0) for source in mixtures.sources])
    found: list[list[float]] = spread(count or mixtures.runs, mixtures.least, most, seed).tolist()
    if len(found) < mixtures.runs:
        raise PedigreeError(
            f"study.mixtures: {len(found)} mixtures were found between least and most, and runs is {mixtures.runs}: "
            "widen the bounds, or take fewer runs"
        )
    return found


def _name(multiple: float) -> str:
    """A number as part of an asset key: 0.5 → ``0p5``."""
    return f"{multiple:g}".replace(".", "p").replace("-", "m").replace("+", "")
