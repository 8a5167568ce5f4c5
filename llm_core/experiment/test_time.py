"""The section ``test_time_compute``: many sampled answers to each question, of which one is given."""

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from llm_core.experiment.base import Count, Spec, one_of
from llm_core.experiment.evaluation import EvaluationSpec
from llm_core.registries import JUDGES


class ReasoningSpec(Spec):
    """A prompt for a chain of thought (Wei et al., 2022; Kojima et al., 2022)."""

    prompt: str = "\nLet's think step by step."
    """Stands after the question. The model continues it."""
    answer: str = r"(?i:answer)(?: is)?:?\s*(.+)"
    """A regular expression with one group: the answer in the text. Of several matches, the last one counts."""
    max_new_tokens: Count = 96
    """At most so many tokens of steps and answer."""

    @field_validator("answer")
    @classmethod
    def _is_expression(cls, answer: str) -> str:
        try:
            groups = re.compile(answer).groups
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"has {groups} groups; put the answer, and nothing else, into one")
        return answer


class RepeatedSamplingSpec(Spec):
    """Repeated sampling: the majority of k answers (self-consistency; Wang et al., 2022), and the best of k."""

    heldout_words: Annotated[int, Field(ge=0)] = 200
    """Questions from held-out documents, one per document: which word comes next? 0: none."""
    context_characters: Count = 200
    """Length of the text before that word."""
    suites: tuple[str, ...] = ()
    """Suites of ``evaluation`` (of kind ``multiple_choice`` or ``last_word``) whose right answers the model must write.
    ``evaluation.few_shot`` says how many solved items stand before each."""
    samples: Annotated[int, Field(ge=2, le=64)] = 16
    """Answers to each question."""
    temperature: Annotated[float, Field(gt=0, le=10)] = 0.7
    """Of the answers. One more is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Only the most likely tokens that together have this probability may be drawn; null: any."""
    max_new_tokens: Count = 12
    """At most so many tokens of an answer. An answer ends earlier, with its word or line."""
    judges: tuple[Annotated[str, one_of(JUDGES)], ...] = ("likelihood", "likelihood_per_token")
    """By which the best of k answers is chosen. A plug-in can add some."""
    reasoning: ReasoningSpec | None = None
    """Ask each question with a chain of thought, too."""

    @model_validator(mode="after")
    def _any_question(self) -> "RepeatedSamplingSpec":
        if not (self.heldout_words or self.suites):
            raise ValueError("no question is asked: set heldout_words, or name suites")
        return self


def check_repeated_sampling(spec: RepeatedSamplingSpec, evaluation: EvaluationSpec, sequence_length: int) -> None:
    """Raise ``ValueError`` for suites without short answers, and for answers longer than the model reads."""
    known = [suite.name for suite in evaluation.suites if suite.kind in ("multiple_choice", "last_word")]
    for name in spec.suites:
        if name not in known:
            raise ValueError(
                f"test_time_compute.suites names {name!r}, but the suites of kind multiple_choice or last_word are: "
                f"{', '.join(known) or 'none'}"
            )
    in_chat = {suite.name for suite in evaluation.suites if suite.kind == "multiple_choice" and suite.chat_template}
    if asked := sorted(in_chat & set(spec.suites)):
        raise ValueError(
            f"test_time_compute.suites names {asked[0]!r}, whose chat_template is true; it asks in plain text only: "
            "add the suite once more under another name, without chat_template"
        )
    longest = max(spec.max_new_tokens, spec.reasoning.max_new_tokens if spec.reasoning else 0)
    if longest >= sequence_length:
        raise ValueError(
            f"test_time_compute: answers of {longest} tokens leave no room for a question in "
            f"training.sequence_length {sequence_length}: lower max_new_tokens"
        )
