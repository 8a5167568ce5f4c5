"""The section ``study``: small runs of the launched model's shape, from which the full run is forecast."""

import re
from typing import Any

from pydantic import Field, ValidationError, model_validator

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Count, Spec, from_plain, later, outside_identity, told
from llm_core.experiment.component import KindOf, over
from llm_core.experiment.layers import Positive
from llm_core.experiment.mixtures import MixturesSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.narrowing import narrowed
from llm_core.experiment.training import TrainingSpec
from llm_core.registries import OPTIMIZERS, SCHEDULES

LEAST_SIZES = 3
LEAST_RUNS = 6
"""What a scaling law takes; and as many amounts of text as sizes."""


class StudySize(Spec):
    """The runs of one size. Its model is the launched one, narrowed (``llm_core.experiment.narrowing``)."""

    width: Count
    """``d_model``; the depth follows by the ratio of the launched model."""
    seeds: Count = 1
    """Runs of each budget. The first has the experiment's seed, and each further one the next number."""
    rates: tuple[Positive, ...] = ()
    """More runs of the last budget, at these multiples of the size's learning rate. At least two, since the best rate
    is the lowest point of a parabola."""
    batches: tuple[Positive, ...] = ()
    """More runs of the last budget, with so many times the batch, and the rate times the root of that. They check the
    noise scale of the gradients."""
    orders: Count = 1
    """Runs of the last budget with the initial weights of the first seed, each with another order of data; the first is
    among the runs of ``seeds``. They tell the noise of the order from that of the initial weights."""
    ideas: bool = False
    """Whether the ideas are tried at this size: with its last budget, all its seeds and rates."""
    idea_seeds: dict[str, Count] = later(default={}, absent={})
    """Idea → its seeds, for ideas that ``seeds`` did not decide. ``pedigree decide`` finds these numbers."""


class GateSpec(Spec):
    """The conditions for launching the full run. null: the condition does not apply."""

    half_width: Positive | None = 0.03
    """The largest half-width of the forecast's 90% interval, as a share of the forecast. The usual drift alone makes
    1.3% for each e-fold of compute beyond the study: 3% at ten times its largest run, 5% at forty times."""
    coverage: Positive | None = 0.8
    """The smallest share of larger runs that laws of smaller ones forecast within the interval."""
    regret: Positive | None = 0.01
    """The largest share of the loss that the launched learning rate loses against the best one, by the sweeps."""
    epochs: Positive | None = 4.0
    """The largest number of passes over the training text."""
    searched: Positive | None = 0.5
    """The smallest share of a suite's items that decontamination could search for."""
    may_differ: tuple[str, ...] = ()
    """Fields (``training.precision``) in which the runs of the study may differ from the launched one."""
    hours: Positive | None = None
    """The longest training."""
    dollars: Positive | None = None
    """The highest price of the training."""


class StudySpec(Spec):
    """Runs of several sizes and budgets. Each size has a trunk, trained at a constant rate, and a cooldown from it for
    each budget (Hägele et al., 2024), so a further budget, size or seed trains only what is new."""

    sizes: tuple[StudySize, ...] = Field(min_length=1)
    """In rising order of width. A law takes three sizes."""
    tokens_per_parameter: tuple[Positive, ...] = ()
    """The budgets of each size, in rising order. Parameters: those that multiply every token (matrices and head)."""
    tokens: tuple[Count, ...] = ()
    """Instead of ``tokens_per_parameter``: the budgets of all sizes."""
    cooldown: float = Field(default=0.2, gt=0, lt=1)
    """The share of a budget's steps in which the rate falls."""
    rate_power: float | None = None
    """The learning rate of a size is the launched one times (launched width / width) to this power. By default 1; and 0
    for a model with a parametrisation, which has the same best rate at all sizes."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Overrides of ``training`` for all runs of the study: smaller batches, a shorter warm-up."""
    compute: dict[str, Any] = outside_identity(default_factory=dict)
    """Overrides of ``compute`` for all runs of the study. On a machine with several GPUs, ``{ranks: 1}`` gives each run
    one of them, and Dagster trains as many at once as there are GPUs."""
    ideas: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Name → overrides of the launched ``model``; under ``training``, overrides of that section; under ``data``, of
    ``cleaning``, ``quality``, ``dedup`` and ``tokenizer``. Each is compared with the launched recipe, in runs with the
    same seeds, order of data and held-out text."""
    mixtures: MixturesSpec | None = later(default=None, absent=None)
    """Runs with other weights of the sources, from which the best ones follow."""
    margin: Positive = 0.002
    """The difference of the loss, as a share of it, that does not matter: ideas within it are equivalent."""
    looks: Count = 1
    """How often seeds may be added before the ideas are judged, this time included. The error level is divided by it,
    so that looking again does not make chance findings likely."""
    evaluate: bool = False
    """Whether each cooled-down run is evaluated like the full run, on the same items. This shows which suite can decide
    at which size, and forecasts the full run's scores. Each evaluation is a process of its own."""
    gate: GateSpec | None = GateSpec()
    """The conditions for the launch. null: a study of ideas and rates only, without law, forecast and gate."""

    @model_validator(mode="after")
    def _ideas(self) -> "StudySpec":
        for name, changes in self.ideas.items():
            if not re.fullmatch(r"[A-Za-z0-9_]+", name):
                raise ValueError(f"ideas.{name}: a name is made of letters from A to Z, digits and '_'")
            if not changes:
                raise ValueError(f"ideas.{name}: it changes nothing; the launched recipe is always among the runs")
            if unknown := sorted(changes.keys() - {*ModelSpec.model_fields, "preset", "training", "data"}):
                raise ValueError(
                    f"ideas.{name}: {', '.join(unknown)}: an idea changes fields of the model, the section training, "
                    "and sections of the data under data"
                )
        if self.ideas and not any(size.ideas for size in self.sizes):
            raise ValueError("ideas: no size tries them; give some of the sizes `ideas: true`")
        for size in self.sizes:
            for idea, seeds in size.idea_seeds.items():
                where = f"sizes: width {size.width}: idea_seeds.{idea}"
                if not size.ideas or idea not in self.ideas:
                    raise ValueError(f"{where}: this size tries no idea of that name")
                if seeds < size.seeds:
                    raise ValueError(f"{where}: {seeds} is below seeds {size.seeds}, which all ideas have")
        return self

    @model_validator(mode="after")
    def _mixtures(self) -> "StudySpec":
        if self.mixtures and self.mixtures.width not in (widths := [size.width for size in self.sizes]):
            raise ValueError(f"mixtures.width {self.mixtures.width}: give the width of one of the sizes: {widths}")
        return self

    @model_validator(mode="after")
    def _rises(self) -> "StudySpec":
        for name, values in (
            ("sizes", [size.width for size in self.sizes]),
            ("tokens_per_parameter", list(self.tokens_per_parameter)),
            ("tokens", list(self.tokens)),
        ):
            if values != sorted(set(values)):
                raise ValueError(f"{name}: {values} must rise")
        if self.gate is not None and (len(self.sizes) < LEAST_SIZES or self._runs() < LEAST_RUNS):
            raise ValueError(
                f"{len(self.sizes)} sizes and {self._runs()} runs are too few for a scaling law, which takes "
                f"{LEAST_SIZES} sizes and {LEAST_RUNS} runs; add some, or give gate: null for a study without forecast"
            )
        if self.gate is not None and 0 < len(self.tokens) < LEAST_SIZES:
            raise ValueError(
                f"tokens: a scaling law takes at least {LEAST_SIZES} amounts of text, and all sizes have these "
                f"{len(self.tokens)}; add some, or give tokens_per_parameter"
            )
        if bool(self.tokens) == bool(self.tokens_per_parameter):
            raise ValueError("give either tokens_per_parameter or tokens: the budgets of the runs")
        for size in self.sizes:
            if any(times <= 1 for times in size.batches):
                raise ValueError(f"sizes: width {size.width}: batches {list(size.batches)} must be above 1")
            if len(size.rates) == 1:
                raise ValueError(
                    f"sizes: width {size.width}: rates {list(size.rates)}: a parabola takes three rates, so give one "
                    "below and one above the size's own, such as [0.5, 2]"
                )
            if 1.0 in size.rates or len(set(size.rates)) < len(size.rates):
                raise ValueError(
                    f"sizes: width {size.width}: rates are multiples of the size's own; leave out 1 and copies"
                )
        if fixed := sorted(self.training.keys() & {"tokens", "branch_points"}):
            raise ValueError(f"training.{fixed[0]}: the study sets it, from tokens_per_parameter")
        if "validation_tokens" in self.training:
            raise ValueError(
                "training.validation_tokens: leave it out: the forecast is about the held-out text of the full run"
            )
        return self

    def _runs(self) -> int:
        return sum(size.seeds for size in self.sizes) * len(self.tokens or self.tokens_per_parameter)

    def changed(self, idea: str, model: ModelSpec, training: TrainingSpec) -> tuple[ModelSpec, TrainingSpec]:
        """The launched ``model`` and ``training`` with an idea. ``ValueError`` for values that do not fit."""
        changes = dict(self.ideas[idea])
        own = changes.pop("training", {})
        changes.pop("data", None)
        if not isinstance(own, dict):
            raise ValueError(f"study.ideas.{idea}: training: give fields of the section training (it is {own!r})")
        try:
            sections = over(training.model_dump(mode="json"), own)
            fields = {} if "preset" in changes else model.model_dump(mode="json")
            overridden = {name: over(fields.get(name), value) for name, value in changes.items()}
            return from_plain(ModelSpec, {**fields, **overridden}), from_plain(TrainingSpec, sections)
        except ValidationError as error:
            raise ValueError(f"study.ideas.{idea}: {told(error)}") from None

    def recipes(self, model: ModelSpec, training: TrainingSpec) -> dict[str, tuple[ModelSpec, TrainingSpec]]:
        """The prefix for ``model`` and ``training`` in messages → both, of each size: as launched, and with each idea.

        The budgets of a size follow from its number of parameters, so these have the launched one. ``ValueError`` for
        values that do not fit.
        """
        recipes = {"study: ": (model, training)}
        recipes |= {f"study.ideas.{idea}: ": self.changed(idea, model, training) for idea in self.ideas}
        found = {}
        for size in self.sizes:
            for place, (shape, own) in recipes.items():
                if size.ideas or place == "study: ":
                    where = f"{place}width {size.width}: "
                    try:
                        small = narrowed(shape, size.width)
                        found[where] = small, self.of(own, self.rate_ratio(shape, size.width), own.tokens, 0)
                    except (PedigreeError, ValueError) as error:
                        raise ValueError(f"{where}{error}") from None
                    usual = found[f"study: width {size.width}: "][0].n_layers
                    if shape.n_layers == model.n_layers and small.n_layers != usual:
                        raise ValueError(
                            f"{where}the pattern gives it {small.n_layers} layers, and the launched recipe has {usual} "
                            "at this width: try the idea at a width where both are equally deep"
                        )
        return found

    def budgets(self, parameters: int) -> list[float]:
        """Tokens of each budget for a size with so many ``parameters``."""
        return list(self.tokens) or [share * parameters for share in self.tokens_per_parameter]

    def rate_ratio(self, launched: ModelSpec, width: int) -> float:
        """The learning rate of the size with this width over the launched one."""
        usual = 1.0 if launched.parametrization is None else 0.0
        power: float = usual if self.rate_power is None else self.rate_power
        return float((launched.d_model / width) ** power)

    def of(
        self, launched: TrainingSpec, rate_ratio: float, tokens: int, cooldown_steps: int, batches: float = 1.0
    ) -> TrainingSpec:
        """The training of one run with this budget and cooldown. ``rate_ratio``: its learning rate over the launched
        one; ``batches``: how many times the study's batch it has.

        ``ValueError`` for overrides that do not fit.
        """
        plain = self._overridden(launched)
        if plain["schedule"].get("warmup"):
            raise ValueError(
                "study.training: the warm-up of a trunk can't be a share of a run, since trunks are made longer: give "
                "study.training: {schedule: {warmup: null, warmup_steps: …}}"
            )
        plain["optimizer"]["lr"] *= rate_ratio * batches**0.5
        warmup = round(plain["schedule"]["warmup_steps"] / batches)
        schedule = {**plain["schedule"], "cooldown_steps": cooldown_steps, "cooldown": None, "warmup_steps": warmup}
        plain["batch_tokens"] = round(plain["batch_tokens"] * batches)
        try:
            return from_plain(TrainingSpec, {**plain, "schedule": schedule, "tokens": tokens, "branch_points": []})
        except ValidationError as error:
            raise ValueError(f"study.training: {told(error)}") from None

    def _overridden(self, launched: TrainingSpec) -> dict[str, Any]:
        """``launched`` with the study's overrides, as written in an experiment, and with all settings of both kinds."""
        plain = over(launched.model_dump(mode="json"), self.training)
        try:
            optimizer = KindOf(OPTIMIZERS, default="adamw").made(plain["optimizer"])
            schedule = KindOf(SCHEDULES, default="cosine").made(plain["schedule"])
        except ValueError as error:
            raise ValueError(f"study.training: {error}") from None
        if schedule.kind != "wsd":
            raise ValueError(
                f"trunks have a constant rate, so the schedule must be wsd, and not {schedule.kind}; give "
                "training.schedule: {kind: wsd, …}, which the study's runs have too"
            )
        whole = {"optimizer": optimizer.model_dump(mode="json"), "schedule": schedule.model_dump(mode="json")}
        return {**plain, **whole}
