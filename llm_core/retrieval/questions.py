"""Questions from held-out documents: which of these phrases follows the beginning of a sentence?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from llm_core.errors import PedigreeError
from llm_core.evals.baselines import trigrams
from llm_core.evals.choices import among_alike
from llm_core.evals.documents import order
from llm_core.retrieval.passages import Passage

_SENTENCE = re.compile(r"(?:^|(?<=[.!?]\s)|(?<=\n\n))\S(?:[^.!?\n]|\n(?!\n)|[.!?](?!\s|$))*")
"""Lines may be wrapped within a sentence; a point inside a word or a number ends none."""
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Question:
    """``choices[gold]`` follows ``query`` in the passage ``gold_passage`` (its number in the index)."""

    question_id: str
    doc_id: str
    query: str
    choices: tuple[str, ...]
    gold: int
    gold_passage: int


@dataclass(frozen=True)
class _Cut:
    name: str
    doc_id: str
    query: str
    answer: str
    passage: int
    trigrams: frozenset[str] = field(repr=False)


def make_questions(
    passages: Sequence[tuple[int, Passage]], count: int, words: int, choices: int, seed: int
) -> list[Question]:
    """At most ``count`` questions from ``passages`` with their numbers, of as many documents as there are.

    A sentence is cut after ``words`` words; the next half as many words, and the space before them, are the answer. The
    wrong choices are answers to questions of other documents (``among_alike``).
    """
    shuffled = sorted(passages, key=lambda found: order(seed, "retrieval", found[1].name))
    cuts = [cut for number, passage in shuffled if (cut := _cut(number, passage, words, seed)) is not None]
    rounds: dict[str, int] = {}
    ranked = []
    for cut in cuts:
        rounds[cut.doc_id] = rounds.get(cut.doc_id, -1) + 1
        ranked.append((rounds[cut.doc_id], cut))
    chosen = [cut for _, cut in sorted(ranked, key=lambda pair: pair[0])[:count]]
    return [_question(cut, chosen, choices, seed) for cut in chosen]


def _cut(number: int, passage: Passage, words: int, seed: int) -> _Cut | None:
    """One sentence of a passage, drawn by hash."""
    least = words + max(1, words // 2)
    sentences = [(found.group(), list(_WORD.finditer(found.group()))) for found in _SENTENCE.finditer(passage.text)]
    long_enough = [(sentence, parts) for sentence, parts in sentences if len(parts) >= least]
    if not long_enough:
        return None
    sentence, parts = min(long_enough, key=lambda found: order(seed, passage.name, found[0]))
    middle, end = parts[words - 1].end(), parts[least - 1].end()
    answer = sentence[middle:end]
    return _Cut(passage.name, passage.doc_id, sentence[:middle], answer, number, trigrams(answer))


def _question(cut: _Cut, cuts: Sequence[_Cut], choices: int, seed: int) -> Question:
    others = {other.answer: other for other in cuts if other.doc_id != cut.doc_id and other.answer != cut.answer}
    wrong = choices - 1
    if len(others) < wrong:
        raise PedigreeError(
            f"retrieval.choices: {choices} choices need answers from {wrong} other documents, and only {len(others)} "
            "have long enough sentences; use more held-out text, fewer choices, or fewer retrieval.query_words"
        )
    texts = {text: (other.name, other.trigrams) for text, other in others.items()}
    chosen, gold = among_alike(cut.name, cut.query, cut.answer, texts, wrong, seed)
    return Question(cut.name, cut.doc_id, cut.query, chosen, gold, cut.passage)
