"""Questions with short answers: the next word of held-out text, and the items of suites."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from llm_core.data.suites import Item, sample_suite
from llm_core.evals.documents import sample
from llm_core.evals.few_shot import prompts
from llm_core.experiment.suites import SuiteSpec
from llm_core.experiment.test_time import RepeatedSamplingSpec

HELDOUT = "heldout_words"
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_FIRST_WORD = re.compile(r"\W*\w+(?:['’-]\w+)*(?=[^\w'’-])")
_LONGEST_WORD = 40


class Question(NamedTuple):
    """``context`` is the prompt. ``answer``: as ``normal`` writes it. ``line``: the answer is a line, not a word.

    ``cluster``: questions of one cluster are alike. ``searched``: what passages are searched for. Solved items are no
    part of it: they are the same before every question.
    """

    task: str
    question_id: str
    cluster: str
    context: str
    searched: str
    answer: str
    line: bool

    def given(self, text: str) -> str | None:
        """The answer that ``text`` begins with; None if there is none."""
        words = _WORD.findall((text.strip().splitlines() or [""])[0] if self.line else text)
        return normal(" ".join(words if self.line else words[:1])) or None

    def ended(self, text: str) -> bool:
        """Whether the answer in ``text`` is complete."""
        return "\n" in text.lstrip() if self.line else _FIRST_WORD.match(text) is not None


def normal(answer: str) -> str:
    """The words of an answer in small letters, without punctuation."""
    return " ".join(_WORD.findall(answer.lower()))


def of_suite(suite: SuiteSpec, solved: int, tokenizer: Tokenizer, length: int) -> list[Question]:
    """The items of a suite, with ``solved`` ones before each, as far as they fit into ``length`` tokens."""
    items = sample_suite(suite)
    inputs = prompts(suite, items, solved, tokenizer, length).inputs
    return [_of_item(suite, item, str(row["context"])) for item, row in zip(items, inputs, strict=True)]


def _of_item(suite: SuiteSpec, item: Item, context: str) -> Question:
    line = suite.kind == "multiple_choice"
    question = Question(suite.name, item.item_id, item.group or item.item_id, context.rstrip(), item.context, "", line)
    return question._replace(answer=question.given(item.choices[item.gold]) or "")


def next_words(heldout: Path, spec: RepeatedSamplingSpec, seed: int) -> list[Question]:
    """One per document. The context ends with a word, and a word follows after a space."""
    documents = sample(heldout, 2 * spec.heldout_words, seed, HELDOUT, spec.context_characters + _LONGEST_WORD)
    found: Sequence[Question | None] = [_next_word(document.doc_id, document.text, spec) for document in documents]
    return [question for question in found if question is not None][: spec.heldout_words]


def _next_word(doc_id: str, text: str, spec: RepeatedSamplingSpec) -> Question | None:
    place = text.rfind(" ", spec.context_characters // 2, spec.context_characters + 1)
    if place < 0 or not text[place - 1].isalnum():
        return None
    word = _WORD.match(text, place + 1)
    if word is None or len(word[0]) > _LONGEST_WORD:
        return None
    context = text[:place]
    return Question(HELDOUT, f"{doc_id}:{place}", doc_id, context, context, normal(word[0]), line=False)
