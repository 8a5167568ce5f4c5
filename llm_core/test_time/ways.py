"""The ways of asking a question: plainly, with a chain of thought, with passages of documents."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from llm_core.experiment.test_time import RepeatedSamplingSpec
from llm_core.retrieval.index import Searcher
from llm_core.retrieval.prompts import with_passages
from llm_core.test_time.questions import Question
from llm_core.test_time.results import PLAIN, REASONING, RETRIEVED


@dataclass(frozen=True)
class Ways:
    """``searcher``: for the way ``retrieved``, which reads at most ``passages``; None: there is no such way."""

    spec: RepeatedSamplingSpec
    searcher: Searcher | None
    passages: int

    def longest(self) -> int:
        """New tokens of the way that writes most."""
        return max(self.new_tokens(PLAIN), self.new_tokens(REASONING))

    def new_tokens(self, way: str) -> int:
        """At most so many tokens of an answer."""
        reasoning = self.spec.reasoning
        return reasoning.max_new_tokens if way == REASONING and reasoning else self.spec.max_new_tokens

    def prompts(self, question: Question, fits: Callable[[str], bool]) -> dict[str, str]:
        """Way → prompt; empty if one does not fit. Passages that do not fit are left out."""
        found = {PLAIN: question.context}
        if self.spec.reasoning:
            found[REASONING] = question.context + self.spec.reasoning.prompt
        if not all(map(fits, found.values())):
            return {}
        if self.searcher is not None:
            passages = [passage for passage, _ in self.searcher.search(question.searched, self.passages)]
            prompted = with_passages(passages, question.context, fits)
            assert prompted is not None  # the question alone fits
            found[RETRIEVED] = prompted[0]
        return found

    def given(self, way: str, question: Question, text: str) -> str | None:
        """The answer in ``text``; None if there is none."""
        if way != REASONING or self.spec.reasoning is None:
            return question.given(text)
        found = re.findall(self.spec.reasoning.answer, text)
        return question.given(found[-1]) if found else None

    def ended(self, way: str, question: Question, text: str) -> bool:
        """Whether nothing after ``text`` can change the answer. Steps go on up to the end of the text."""
        return way != REASONING and question.ended(text)
