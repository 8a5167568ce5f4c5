"""Multiple-choice questions from held-out text: which of these continuations is the real one?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from llm_core.errors import PedigreeError
from llm_core.evals.baselines import overlap, trigrams
from llm_core.evals.documents import Document, order

POOL = 256
"""Size of the pool of other questions from which wrong choices are picked: large enough to contain similar ones, and of
constant cost per question."""


@dataclass(frozen=True)
class Question:
    """``choices[gold]`` follows ``context`` in the document. The other choices follow contexts of other documents."""

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
    trigrams: frozenset[str] = field(repr=False)


def make_questions(
    documents: Sequence[Document],
    count: int,
    choices: int,
    context_characters: int,
    continuation_characters: int,
    seed: int,
) -> list[Question]:
    """At most ``count`` questions. A document gives a second one only when every document has given one.

    A context ends at a single space between two words. The continuation starts with this space, so the cut is a token
    boundary. All continuations have the same number of characters, so their lengths reveal nothing. The wrong choices
    are real continuations of questions from other documents (``among_alike``).
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
    texts = {text: (other.name, other.trigrams) for text, other in others.items()}
    chosen, gold = among_alike(piece.name, piece.context, piece.continuation, texts, wrong, seed)
    return Question(piece.name, piece.doc_id, piece.context, chosen, gold)


def among_alike(
    name: str, context: str, right: str, others: Mapping[str, tuple[str, frozenset[str]]], wrong: int, seed: int
) -> tuple[tuple[str, ...], int]:
    """The choices of the question ``name`` in a random order, and the place of the right one.

    ``others``: text → its name and its trigrams. From a random pool of them, the ``wrong`` ones that share most
    trigrams with the context are taken, because otherwise shared words would reveal the right one.
    """
    seen = trigrams(context)
    pool = nsmallest(POOL, others.items(), key=lambda other: order(seed, name, other[1][0]))
    pool.sort(key=lambda other: (-overlap(seen, other[1][1]), other[1][0]))
    texts = [right, *(text for text, _ in pool[:wrong])]
    texts.sort(key=lambda text: order(seed, name, text))
    return tuple(texts), texts.index(right)


def _pieces(document: Document, context_characters: int, continuation_characters: int) -> Iterator[_Piece]:
    text, start = document.text, 0
    while True:
        middle = _cut(text, start + context_characters // 2, start + context_characters)
        if middle is None or middle + continuation_characters > len(text):
            return
        end = middle + continuation_characters
        continuation = text[middle:end]
        name = f"{document.doc_id}:{start}"
        yield _Piece(name, document.doc_id, text[start:middle], continuation, trigrams(continuation))
        start = end


def _cut(text: str, first: int, last: int) -> int | None:
    """The last position in [first, last] with a single space between two words."""
    if last >= len(text) - 1:
        return None
    for place in range(last, max(first, 1) - 1, -1):
        if text[place] == " " and not text[place - 1].isspace() and not text[place + 1].isspace():
            return place
    return None
