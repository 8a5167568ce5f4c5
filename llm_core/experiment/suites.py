"""The section about eval suites: published tasks in files, one JSON object per line."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Spec, either, later, one_of, outside_identity
from llm_core.experiment.paths import YamlPath
from llm_core.registries import INSTRUCTION_RULES

RESERVED = ("heldout", "continuation", "baseline_unigram", "baseline_xz", "baseline_overlap")
"""Tasks of the held-out split, which are in the same table."""

IFEVAL = (
    "keywords:existence",
    "keywords:frequency",
    "keywords:forbidden_words",
    "keywords:letter_frequency",
    "language:response_language",
    "length_constraints:number_sentences",
    "length_constraints:number_paragraphs",
    "length_constraints:number_words",
    "length_constraints:nth_paragraph_first_word",
    "detectable_content:number_placeholders",
    "detectable_content:postscript",
    "detectable_format:number_bullet_lists",
    "detectable_format:constrained_response",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:json_format",
    "detectable_format:title",
    "combination:two_responses",
    "combination:repeat_prompt",
    "startend:end_checker",
    "startend:quotation",
    "change_case:capital_word_frequency",
    "change_case:english_capital",
    "change_case:english_lowercase",
    "punctuation:no_comma",
)
"""The rules of IFEval."""


class _Suite(Spec):
    """The base of all suites. ``name``: the task's name in ``evals.jsonl``."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """The task's name in reports and in ``evals.jsonl``."""
    path: Annotated[YamlPath, outside_identity()]
    """A .jsonl file, plain or with .gz or .zst. A relative path starts at the folder of the experiment's file."""
    max_items: Count | None = 2000
    """The number of items to score: a sample by hash, nearly the same when the file grows. ``null``: all."""

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
    """A field whose values are also scored separately, and sampled evenly; ``null``: none."""


class MultipleChoiceSuite(_Suite):
    """Questions with choices. The model reads ``prefix``, the query, ``suffix``, ``delimiter`` and a choice."""

    kind: Literal["multiple_choice"] = "multiple_choice"
    query: str = "query"
    """The field that holds the question."""
    choices: Annotated[
        str | Annotated[tuple[str, ...], Field(min_length=2)],
        either("name the field that holds the list of choices, or two fields or more that hold one each"),
    ] = "choices"
    """The field with the list of choices, or several fields with one choice each."""
    gold: str = "gold"
    """The field with the index (from 0) of the right choice; or the right one of several ``choices`` fields."""
    prefix: str = ""
    """Text before every question."""
    suffix: str = ""
    """Text after every question."""
    delimiter: str = " "
    """Text between a question and a choice."""
    separator: str = later(default="\n\n", absent="\n\n")
    """Text between solved items."""
    strip: bool = later(default=False, absent=False)
    """Whether white space at the ends of a question goes."""
    remove_prefix: str = later(default="", absent="")
    """Text that is removed from the beginning of a question, where it stands there, before ``prefix`` is added."""
    lettered: bool = later(default=False, absent=False)
    """The model reads all choices, each in a line with a letter, and must choose the letter."""
    before_choices: str = later(default="", absent="")
    """Text between the question and the list of ``lettered`` choices."""
    criterion: Literal["sum", "bytes", "characters", "tokens"] = later(default="sum", absent="sum")
    """By what the likelihood of a choice is divided in the accuracy that is part of the centred score. Those of ``sum``
    and ``bytes`` are always computed."""
    chance: Annotated[float, Field(ge=0, lt=1)] | None = later(default=None, absent=None)
    """The accuracy of guessing; null: that of an even guess among the choices of each item."""
    shots: Annotated[YamlPath | None, outside_identity(default=None)]
    """A file with the solved items, in its order, in the form of ``path``; null: they are chosen from ``path``."""
    draw_shots: bool = later(default=False, absent=False)
    """Other solved items for each question, drawn from all of ``path`` but itself, as llm-foundry does, instead of the
    same ones for all."""
    chat_template: bool = later(default=False, absent=False)
    """The model reads the question, with the solved items, as a user's turn in the chat template with which it was
    tuned (``plain``, if it was not), and answers in the assistant's turn. ``delimiter`` then stands in solved items
    only."""

    @model_validator(mode="after")
    def _shots_come_from_one_place(self) -> "MultipleChoiceSuite":
        if self.draw_shots and self.shots is not None:
            raise ValueError("draw_shots draws the solved items from path: leave shots out, or draw_shots")
        return self

    @model_validator(mode="after")
    def _gold_is_a_choice(self) -> "MultipleChoiceSuite":
        if not isinstance(self.choices, str) and self.gold not in self.choices:
            raise ValueError(
                f"gold is {self.gold!r}, but the choices are {', '.join(self.choices)}; set gold to one of them"
            )
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
    strip: bool = later(default=False, absent=False)
    """Whether white space at the ends of a passage and of its last word goes."""


class GenerativeSuite(_Suite):
    """Prompts to which the model writes the answer. It reads ``prefix``, the prompt and ``suffix``; it writes up to a
    ``stop`` string."""

    kind: Literal["generative"] = "generative"
    prompt: str = "question"
    """The field that holds the question."""
    answer: str = "answer"
    """The field that holds the right answer, or a list of right answers. The first is the one of bits per byte."""
    score: Literal["exact_match", "rouge"] = "exact_match"
    """``exact_match``: the answer is one of the right ones, whatever its case, punctuation and articles. ``rouge``: for
    summaries, the words that it shares with a right one (ROUGE-1, 2 and L)."""
    prefix: str = "Question: "
    """Text before every prompt."""
    suffix: str = "\nAnswer:"
    """Text after every prompt."""
    delimiter: str = " "
    """Text between a prompt and the right answer, in solved items and for bits per byte."""
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = ("\n",)
    """Strings that end an answer. The end of the document ends it, too."""
    max_new_tokens: Count = 32
    """At most so many tokens of an answer."""
    chat_template: bool = later(default=False, absent=False)
    """The model reads the prompt, with the solved items, as a user's turn in the chat template with which it was tuned
    (``plain``, if it was not), and answers in the assistant's turn. ``delimiter`` then stands in solved items only."""


class InstructionsSuite(_Suite):
    """Prompts whose answers a program can check: "no commas", "at least 300 words" (IFEval: Zhou et al., 2023)."""

    kind: Literal["instructions"] = "instructions"
    prompt: str = "prompt"
    """The field that holds the prompt."""
    rules: str = "instruction_id_list"
    """The field with the list of the names of rules that an answer must keep."""
    arguments: str | None = "kwargs"
    """The field with the arguments of each rule, in the same order; those that are null do not count. ``null``: each
    rule in ``rules`` is an object with its name as ``rule``, and its arguments beside it."""
    more_rules: tuple[Annotated[str, one_of(INSTRUCTION_RULES)], ...] = ()
    """Rules of a plug-in that items may name, beside those of IFEval."""
    chat_template: bool = True
    """The model reads the prompt as a user's turn, in the chat template with which it was tuned; a model that was not
    tuned, in ``plain``. ``false``: as plain text."""
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Strings that end an answer. The end of the turn or of the document ends it, too."""
    max_new_tokens: Count = 256
    """At most so many tokens of an answer. IFEval in lm-eval allows 1,280."""

    @property
    def known_rules(self) -> tuple[str, ...]:
        """All rules that items may name."""
        return (*IFEVAL, *self.more_rules)


class PerplexitySuite(_Suite):
    """Whole documents, scored in bits per byte."""

    kind: Literal["perplexity"] = "perplexity"
    text: str = "text"
    """The field that holds the document."""


SuiteSpec = Annotated[
    MinimalPairsSuite | MultipleChoiceSuite | LastWordSuite | GenerativeSuite | InstructionsSuite | PerplexitySuite,
    Field(discriminator="kind"),
]
