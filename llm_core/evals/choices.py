"""Multiple-choice questions from held-out text: which of these continuations is the real one?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from llm_core.errors import PedigreeError
from llm_core.evals.documents import Document, order

POOL_PER_CHOICE = 8


@dataclass(frozen=True)
class Question:
    """``choices[gold]`` is what follows ``context`` in the document; the others follow other documents' contexts."""

    question_id: str
    doc_id: str
    context: str
    choices: tuple[str, ...]
    gold: int


@dataclass(frozen=True)
class _Piece:
    name: str
    doc_id: str
    context: str
    continuation: str


def make_questions(
    documents: Sequence[Document],
    count: int,
    choices: int,
    context_characters: int,
    continuation_characters: int,
    seed: int,
) -> list[Question]:
    """At most ``count`` questions; a document gives a second one only when every document has given its first.

    Text is cut where a single space parts two words, so that a continuation starts with its space and tokens meet at
    the cut; lengths are the nearest ones below those asked for. The wrong choices are real continuations of other
    questions, from other documents, and as near in length to the right one as a random pool allows.
    """
    rounds: dict[int, list[_Piece]] = {}
    for document in documents:
        for number, piece in enumerate(_pieces(document, context_characters, continuation_characters)):
            rounds.setdefault(number, []).append(piece)
    pieces = [piece for number in sorted(rounds) for piece in rounds[number]][:count]
    return [_question(piece, pieces, choices, seed) for piece in pieces]


def _question(piece: _Piece, pieces: Sequence[_Piece], choices: int, seed: int) -> Question:
    others: dict[str, _Piece] = {}
    for other in pieces:
        if other.doc_id != piece.doc_id and other.continuation != piece.continuation:
            others.setdefault(other.continuation, other)
    wrong = choices - 1
    if len(others) < wrong:
        raise PedigreeError(
            f"evaluation.choices: {choices} choices need continuations from {wrong} other held-out documents, but only "
            f"{len(others)} are long enough; use more text, fewer choices, or fewer characters"
        )
    pool = nsmallest(
        wrong * POOL_PER_CHOICE, others.values(), key=lambda other: order(seed, piece.name, other.name)
    )  # a random part of them, without which the nearest in length would be the same few for everyone
    pool.sort(key=lambda other: (abs(len(other.continuation) - len(piece.continuation)), other.name))
    texts = [piece.continuation, *(other.continuation for other in pool[:wrong])]
    texts.sort(key=lambda text: order(seed, piece.name, text))
    return Question(piece.name, piece.doc_id, piece.context, tuple(texts), texts.index(piece.continuation))


def _pieces(document: Document, context_characters: int, continuation_characters: int) -> Iterator[_Piece]:
    text, start = document.text, 0
    while True:
        middle = _cut(text, start + context_characters // 2, start + context_characters)
        end = middle and _cut(text, middle + continuation_characters // 2, middle + continuation_characters)
        if not middle or not end:
            return
        name = f"{document.doc_id}:{start}"
        yield _Piece(name, document.doc_id, text[start:middle], text[middle:end])
        start = end + 1


def _cut(text: str, first: int, last: int) -> int | None:
    """The last place in [first, last] where one space parts two words."""
    if last >= len(text) - 1:
        return None
    for place in range(last, max(first, 1) - 1, -1):
        if text[place] == " " and not text[place - 1].isspace() and not text[place + 1].isspace():
            return place
    return None
