"""The section that names eval suites: published tasks that lie in files, one JSON object a line."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Spec, either, outside_identity
from llm_core.experiment.paths import YamlPath

RESERVED = ("heldout", "continuation", "baseline_unigram", "baseline_xz", "baseline_overlap")
"""Tasks of the held-out split, which stand in the same table."""


class _Suite(Spec):
    """What all suites have. ``name``: the task's name in ``evals.jsonl``."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """The task's name in reports and in ``evals.jsonl``."""
    path: Annotated[YamlPath, outside_identity()]
    """A .jsonl file, plain or with .gz or .zst; a relative one starts at the folder of the experiment's file."""
    max_items: Count | None = 2000
    """Items scored: a sample by hash that stays nearly the same when the file grows; ``null``: all of them."""

    @model_validator(mode="after")
    def _name_is_free(self) -> "_Suite":
        if self.name in RESERVED:
            raise ValueError(f"a suite can't be called {self.name!r}: that is a task of the held-out split")
        return self


class MinimalPairsSuite(_Suite):
    """Pairs of sentences of which one is grammatical (BLiMP: Warstadt et al., 2020; Zorro: Huebner et al., 2021)."""

    kind: Literal["minimal_pairs"] = "minimal_pairs"
    good: str = "sentence_good"
    """The field that holds the grammatical sentence."""
    bad: str = "sentence_bad"
    """The field that holds the other one."""
    group: str | None = "paradigm"
    """The field whose values are scored apart as well, and sampled evenly; ``null``: there is none."""


class MultipleChoiceSuite(_Suite):
    """Questions with choices. The model reads ``prefix``, the query, ``suffix``; and ``delimiter`` before a choice."""

    kind: Literal["multiple_choice"] = "multiple_choice"
    query: str = "query"
    """The field that holds the question."""
    choices: Annotated[
        str | Annotated[tuple[str, ...], Field(min_length=2)],
        either("name the field that holds the list of choices, or two fields or more that hold one each"),
    ] = "choices"
    """The field that holds the list of choices; or several fields that hold one each."""
    gold: str = "gold"
    """The field that holds the right choice's place, from 0; or the one of several ``choices`` that is right."""
    prefix: str = ""
    """Text before every question."""
    suffix: str = ""
    """Text after every question."""
    delimiter: str = " "
    """Text between a question and a choice."""

    @model_validator(mode="after")
    def _gold_is_a_choice(self) -> "MultipleChoiceSuite":
        if not isinstance(self.choices, str) and self.gold not in self.choices:
            raise ValueError(f"gold {self.gold!r} is none of the choices {', '.join(self.choices)}; name the right one")
        return self


class LastWordSuite(_Suite):
    """Passages whose last word follows from all of them (LAMBADA: Paperno et al., 2016)."""

    kind: Literal["last_word"] = "last_word"
    context: str = "context"
    """The field that holds the passage without its last word."""
    continuation: str = "continuation"
    """The field that holds the last word."""
    delimiter: str = " "
    """Text between the two."""


class PerplexitySuite(_Suite):
    """Whole documents, scored in bits per byte."""

    kind: Literal["perplexity"] = "perplexity"
    text: str = "text"
    """The field that holds the document."""


SuiteSpec = Annotated[
    MinimalPairsSuite | MultipleChoiceSuite | LastWordSuite | PerplexitySuite, Field(discriminator="kind")
]
