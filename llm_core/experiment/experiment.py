"""The experiment: all sections in one object, and the checks between sections."""

from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from llm_core.experiment.base import Spec, told
from llm_core.experiment.callbacks import check_callbacks
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.continuation import Branches, LongContextSpec, check_branches, check_long_context
from llm_core.experiment.data_ideas import SECTIONS, data_sections
from llm_core.experiment.dedup import DecontaminationSpec, DedupSpec, SplitSpec
from llm_core.experiment.evaluation import ChecksSpec, EvaluationSpec, SamplingSpec
from llm_core.experiment.exports import ExportsSpec
from llm_core.experiment.lengths import (
    check_clamp,
    check_compiled,
    check_generated,
    check_lengths,
    check_phases,
)
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.optimizations import OptimizationsSpec
from llm_core.experiment.preference import PreferenceSpec
from llm_core.experiment.quality import QualitySpec
from llm_core.experiment.reports import ReportsSpec
from llm_core.experiment.retrieval import RetrievalSpec
from llm_core.experiment.runtime import ComputeSpec, TrackingSpec
from llm_core.experiment.sources import RawSpec
from llm_core.experiment.start import StartSpec
from llm_core.experiment.study import StudySpec
from llm_core.experiment.test_time import RepeatedSamplingSpec, check_repeated_sampling
from llm_core.experiment.tokens import ShardsSpec, TokenizerSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.experiment.tuning import TUNINGS, TuningSpec, check_tuning

Owner = Annotated[str, Field(pattern=r"^([A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}|team:[A-Za-z0-9_]+)$")]
TagKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,63}$")]
TagValue = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{0,63}$")]
"""What Dagster takes for an owner, a tag and its value."""

DTYPE_LIMITS = {"uint16": 1 << 16, "uint32": 1 << 32}
LONG_CONTEXT = "long_context."
NEED_TRAINING = ("branches", "long_context", "study", "optimizations")
"""Sections about the full run."""
LAUNCH_GATE = "launch_gate"
"""The stage that must be open before the full run starts."""
IMPORTED = "imported_model"
"""The stage of the model in ``start``."""


class Experiment(Spec):
    """One YAML file, checked. ``compute`` and ``tracking`` are run-time only, ``owners`` and ``tags`` for people; the
    rest describes results."""

    plugins: tuple[str, ...] = ()
    """Modules with the user's own components (``llm_core.plugins``)."""
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Small letters, digits and ``_``; the prefix of the assets in Dagster. By default the name of the file."""
    description: str = ""
    """What the experiment is, in a sentence."""
    owners: tuple[Owner, ...] = ()
    """Who answers for it, as Dagster shows it: addresses (``team@example.org``) and teams (``team:data``)."""
    tags: dict[TagKey, TagValue] = Field(default_factory=dict)
    """Name → value, as Dagster shows them on the assets and the runs: ``{project: rivers}``."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 1337
    """Of the weights at the start, of the order of the data, and of all else that is drawn by chance."""
    raw: RawSpec = RawSpec()
    cleaning: CleaningSpec = CleaningSpec()
    quality: QualitySpec | None = None
    """null: only the rules of ``cleaning`` judge documents."""
    dedup: DedupSpec = DedupSpec()
    decontamination: DecontaminationSpec = DecontaminationSpec()
    split: SplitSpec = SplitSpec()
    tokenizer: TokenizerSpec = TokenizerSpec()
    shards: ShardsSpec = ShardsSpec()
    start: StartSpec | None = None
    """A finished model whose weights are trained further. null: new weights. Its model and tokenizer are those of the
    experiment, so these two sections may be left out."""
    model: ModelSpec
    training: TrainingSpec | None = None
    """The full run. It may be left out where ``instruct`` or ``chat`` tunes a ``start``."""
    branches: Branches = Field(default_factory=dict)
    """Name → a cooldown from a step of the full run."""
    long_context: LongContextSpec | None = None
    instruct: TuningSpec | None = None
    """Tuning of the full run's model, or else of the ``start``, on prompts and answers."""
    chat: TuningSpec | None = None
    """Tuning on dialogues: of the model of ``instruct``, or else of the one that ``instruct`` would tune."""
    preference: PreferenceSpec | None = None
    """Tuning on preferences: of the last model that ``chat`` or ``instruct`` tuned, or else of the one that they would
    tune."""
    study: StudySpec | None = None
    """Small runs of the model's shape, from which the full run is forecast."""
    optimizations: OptimizationsSpec | None = None
    """A table of what each technique of model and trainer costs and brings on this machine."""
    evaluation: EvaluationSpec = EvaluationSpec()
    retrieval: RetrievalSpec | None = None
    """Passages that the model reads before it answers."""
    test_time_compute: RepeatedSamplingSpec | None = None
    """What many answers to one question bring."""
    sampling: SamplingSpec = SamplingSpec()
    exports: ExportsSpec = ExportsSpec()
    checks: ChecksSpec = ChecksSpec()
    reports: ReportsSpec = ReportsSpec()
    compute: ComputeSpec = ComputeSpec()
    tracking: TrackingSpec = TrackingSpec()

    def gates(self) -> tuple[str, ...]:
        """The stages that must be open before the full run starts."""
        return (LAUNCH_GATE,) if self.study and self.study.gate else ()

    def full_run(self) -> TrainingSpec:
        """The section ``training``, for what an experiment without it has not."""
        assert self.training is not None
        return self.training

    def base_training(self) -> TrainingSpec:
        """The training of the full run; without one, of the first tuning."""
        return self.training or next(iter(self.tunings().values())).training

    def base_model(self) -> str:
        """The stage of the model that is evaluated, exported and tuned."""
        return "pretrained_model" if self.training else IMPORTED

    def final_model(self) -> str:
        """The stage of the model that people use: the last one that is tuned, or else the base model."""
        return f"{list(tunings)[-1]}_model" if (tunings := self.tunings()) else self.base_model()

    def tunings(self) -> dict[str, TuningSpec | PreferenceSpec]:
        """The sections that tune, in the order in which they do."""
        found = {name: getattr(self, name) for name in TUNINGS}
        return {name: tuning for name, tuning in found.items() if tuning is not None}

    def with_data(self, idea: str) -> "Experiment":
        """This experiment with the data of an idea of its study. ``ValueError`` for changes that do not fit."""
        assert self.study is not None
        launched = {name: getattr(self, name) for name in SECTIONS}
        return self.model_copy(update=data_sections(idea, self.study.ideas[idea]["data"], launched))

    @model_validator(mode="after")
    def _has_a_first_run(self) -> "Experiment":
        tunings = self.tunings()
        if self.training is None:
            if self.start is None or not tunings:
                raise ValueError(
                    "training: say how the model is trained; it may be left out only where there is a start, and a "
                    "section instruct or chat that tunes it"
                )
            if needing := [name for name in NEED_TRAINING if getattr(self, name)]:
                raise ValueError(f"{needing[0]}: needs a full run; add the section training, or remove it")
        if self.start is not None and self.study is not None:
            raise ValueError(
                "study: its models are narrower than the start's, so its runs can't begin with those weights, and "
                "forecast no run that does: remove the study or the start (`study: null` where it is inherited)"
            )
        if self.start is not None and self.tokenizer.kind != "imported":
            raise ValueError(
                "tokenizer: the start has a tokenizer of its own, and its model knows no other: leave the section out "
                "(`tokenizer: null` where it is inherited), or import that tokenizer"
            )
        return self

    @model_validator(mode="after")
    def _sections_agree(self) -> "Experiment":
        ideas = self.study.ideas if self.study else {}
        data = {"": self, **{f"study.ideas.{i}: ": self.with_data(i) for i, own in ideas.items() if "data" in own}}
        for place, changed in data.items():
            if changed.tokenizer.vocab_size > DTYPE_LIMITS[self.shards.dtype]:
                raise ValueError(
                    f"{place}tokenizer.vocab_size {changed.tokenizer.vocab_size} does not fit shards.dtype "
                    f"{self.shards.dtype}: at most {DTYPE_LIMITS[self.shards.dtype]}; use uint32"
                )
        if self.test_time_compute:
            check_repeated_sampling(self.test_time_compute, self.evaluation, self.base_training().sequence_length)
        if self.training:
            check_branches(self.training, self.branches)
            if self.long_context:
                check_long_context(self.model, self.training, self.long_context)
        tunings = self.tunings()
        for place, tuning in tunings.items():
            check_tuning(place, tuning, self.model, self.tokenizer)
        if len({tuning.template for tuning in tunings.values()}) > 1:
            told = ", ".join(f"{name}.template" for name in tunings)
            raise ValueError(f"{told}: must be one template, since each section tunes the model of the one before")
        runs = self._runs()
        tuned = [f"{name}." for name in tunings]
        continued = (LONG_CONTEXT, *tuned)
        for place, (model, training, compute) in runs.items():
            check_lengths(model, training, place)
            check_phases(training, place)
            check_compiled(training, compute, place)
            if compute.keep.best and compute.checkpoint_every % training.validate_every:
                raise ValueError(
                    f"compute.keep.best goes by the validation loss: make compute.checkpoint_every "
                    f"{compute.checkpoint_every} a multiple of {place}training.validate_every {training.validate_every}"
                )
            if training.dpo is not None and place != "preference.":
                raise ValueError(f"{place}training.dpo: only in the section 'preference', whose data are pairs")
            if place not in continued and not self.start:  # these start from a trained model
                own = next((changed for idea, changed in data.items() if idea and place.startswith(idea)), self)
                check_clamp(training, own.tokenizer.vocab_size, place)
        # The length of a prompt is unknown before there is a tokenizer: end of text, and at least one more.
        check_generated(self.model, self.sampling.max_new_tokens + 1, "sampling.max_new_tokens")
        length = self.base_training().sequence_length
        for suite in self.evaluation.suites:
            if suite.kind in ("generative", "instructions") and suite.max_new_tokens >= length:
                raise ValueError(
                    f"evaluation.suites: {suite.name}: max_new_tokens {suite.max_new_tokens} leaves no room for a "
                    f"prompt: the model reads {length} tokens at once (training.sequence_length)"
                )
        check_callbacks([model for model, *_ in runs.values()], self.tracking.callbacks)
        named = {source.name for source in self.raw.sources}
        mentioned = {
            f"{place}training.mixture.weights": set(training.mixture.weights) if training.mixture else set()
            for place, (_, training, _) in runs.items()
            if place not in tuned  # they have sources of their own
        }
        if self.study and self.study.mixtures:
            mentioned["study.mixtures.sources"] = set(self.study.mixtures.sources)
        mentioned |= {f"{place}dedup.prefer": set(changed.dedup.prefer) for place, changed in data.items()}
        for place, names in mentioned.items():
            unknown = sorted(names - named)
            if unknown:
                raise ValueError(
                    f"{place}: no source in raw.sources is called {', '.join(unknown)}; "
                    f"known: {', '.join(sorted(named))}"
                )
        return self

    def _runs(self) -> dict[str, tuple[ModelSpec, TrainingSpec, ComputeSpec]]:
        """The prefix for ``model`` and ``training`` in messages → both and ``compute``, for every run except the
        branches."""
        runs = {"": (self.model, self.training, self.compute)} if self.training else {}
        if self.study and self.training:
            try:
                compute = self.compute.changed(self.study.compute)
            except ValidationError as error:
                raise ValueError(f"study.{told(error, 'compute')}") from None
            runs |= {place: (*run, compute) for place, run in self.study.recipes(self.model, self.training).items()}
        if self.long_context:
            runs[LONG_CONTEXT] = self.long_context.model(self.model), self.long_context.training, self.compute
        runs |= {f"{name}.": (self.model, tuning.training, self.compute) for name, tuning in self.tunings().items()}
        return runs
