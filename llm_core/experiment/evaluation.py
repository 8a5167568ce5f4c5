"""The sections about evaluation, samples, and the bounds of the stages' checks."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Share, Spec, later, outside_identity
from llm_core.experiment.suite_presets import written_out
from llm_core.experiment.suites import SuiteSpec


class EvaluationSpec(Spec):
    """lm-eval on local tasks: tasks built from the held-out split, and suites from files."""

    heldout_documents: Count = 100
    """Documents scored for bits per byte."""
    choice_questions: Count = 200
    """Questions 'which of four continuations is the real one'."""
    choices: Annotated[int, Field(ge=2, le=10)] = 4
    """Continuations of a question, of which one is real."""
    context_characters: Count = 400
    """Length of the text before the continuations."""
    continuation_characters: Count = 120
    """Length of a continuation."""
    batch_size: Count = 16
    """Texts that are scored at once."""
    suites: tuple[SuiteSpec, ...] = later(default=(), absent=[])
    """Published evals from files. Decontamination removes documents that contain their items. ``preset`` (``core/…``,
    ``olmes/…``) gives a suite the fields of a published prompt format, and its number of solved items."""
    few_shot: dict[str, Count] = later(default={}, absent={})
    """Suite (of kind ``multiple_choice``, ``last_word`` or ``generative``) → solved items before each context (Brown et
    al., 2020)."""

    compare: tuple[str, ...] = outside_identity(default=())
    """More stages that train a model, to be scored on the same items and compared: ``cooldown_runs/NAME``,
    ``long_context_model``, ``scaling_runs/NAME``. Tuned models are always compared."""

    @property
    def question_characters(self) -> int:
        """The minimum length of a document for a question: context and continuation, and a word after a space."""
        return self.context_characters + self.continuation_characters + 2

    @model_validator(mode="before")
    @classmethod
    def _written_out(cls, data: Any) -> Any:
        return written_out(data) if isinstance(data, Mapping) else data

    @model_validator(mode="after")
    def _suite_names_differ(self) -> "EvaluationSpec":
        names = [suite.name for suite in self.suites]
        if len(set(names)) != len(names):
            raise ValueError(f"two suites share a name: {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _few_shot_suites_have_contexts(self) -> "EvaluationSpec":
        kinds = ("multiple_choice", "last_word", "generative")
        with_context = [suite.name for suite in self.suites if suite.kind in kinds]
        for name in self.few_shot:
            if name not in with_context:
                raise ValueError(
                    f"few_shot names {name!r}, but the suites of kind {', '.join(kinds)} are: "
                    f"{', '.join(with_context) or 'none'}"
                )
        return self

    @model_validator(mode="after")
    def _enough_to_choose_from(self) -> "EvaluationSpec":
        if self.choice_questions < self.choices:
            raise ValueError(
                f"choice_questions {self.choice_questions} is less than choices {self.choices}: the wrong "
                "continuations of a question are the real ones of others"
            )
        return self


LEAST_PENALTY, MOST_PENALTY = 0.1, 10.0
"""Of a repetition. Far beyond them, logits are no longer finite."""


class SamplingSpec(Spec):
    """Generations for people to read."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "Return a new list that",
        "This module provides",
        "The function raises an error if",
    )
    """Beginnings of texts; each is continued at every temperature."""
    temperatures: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (0.3, 0.7, 1.0, 1.5)
    """What logits are divided by before a token is drawn; 0: the most likely token."""
    max_new_tokens: Count = 80
    """At most so many tokens of a continuation."""
    top_k: Count | None = None
    """Only so many of the most likely tokens may be drawn; null: any."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Only the most likely tokens that together have this probability may be drawn; null: any."""
    repetition_penalty: Annotated[float, Field(ge=LEAST_PENALTY, le=MOST_PENALTY)] = later(default=1.0, absent=1.0)
    """Divides the logits of tokens that already occur (Keskar et al., 2019)."""


class ChecksSpec(Spec):
    """Bounds of the asset checks. They judge an artifact's statistics, and are not part of any identity."""

    max_drop_share: Share = 0.6
    """Of the documents, those that cleaning drops."""
    max_duplicate_share: Share = 0.6
    """Of the documents, those that are dropped as duplicates."""
    max_cluster_share: Share = 0.05
    """Share of the documents in the largest cluster of duplicates."""
    max_contaminated_share: Share = 0.05
    """Of the documents, those that hold eval items."""
    min_quality_examples: Count = 200
    """The minimum number of examples of each class of the quality classifier."""
    max_unk_rate: Share = 0.001
    """Of the tokens, those that stand for unknown bytes."""
    max_unused_vocabulary: Share = 0.2
    """Of the vocabulary, entries that no text uses."""
    min_loss_drop: Annotated[float, Field(ge=0)] = 0.1
    """Nats by which the final loss must be below the first loss."""
    max_bad_step_share: Share = 0.01
    """Of the steps, those that were skipped."""
    chance_margin: Annotated[float, Field(ge=0)] = 0.0
    """The minimum margin of accuracy over chance. It must also be at least two standard errors."""
    max_dropped_conversations: Share = 0.2
    """Of the conversations that were read, those that are dropped for a fault (no answer, an empty turn)."""
    max_too_long_conversations: Share = 0.1
    """Of the conversations, those that are longer than a sequence. They are left out, never cut."""
    min_target_share: Share = 0.01
    """Of the tokens of conversations, the least share that the model learns to write."""
    max_target_share: Share = 0.95
    """The largest. More means that prompts are learnt, too."""
    max_forgotten: Annotated[float, Field(ge=0)] = 0.2
    """By how much tuning may raise the bits per byte of the base model's held-out text, as a share of them."""
