"""Cuts documents into passages."""

import re
from collections.abc import Iterator
from typing import NamedTuple

_ENDS = (re.compile(r"\n\s*\n"), re.compile(r"[.!?。！？][\"'”’)]?\s+|\n|[。！？]"), re.compile(r"\s+"))
"""Where a passage may end: between paragraphs, sentences or words; the first kind that leaves half a passage counts."""


class Passage(NamedTuple):
    """A piece of a document: ``text`` stands at the character ``start``.

    ``url``: of the document, if it has one. ``place``: its source, file and row, as ``pedigree why -d`` takes them.
    """

    doc_id: str
    start: int
    text: str
    url: str | None = None
    place: str | None = None

    @property
    def name(self) -> str:
        """What an answer cites."""
        return f"{self.doc_id}:{self.start}"


def passages(
    doc_id: str, text: str, longest: int, url: str | None = None, place: str | None = None
) -> Iterator[Passage]:
    """The passages of a document. Together they are its text, without the white space around them."""
    start = 0
    while start < len(text):
        end = _end(text, start, start + longest)
        piece = text[start:end]
        if stripped := piece.strip():
            yield Passage(doc_id, start + len(piece) - len(piece.lstrip()), stripped, url, place)
        start = end


def _end(text: str, start: int, last: int) -> int:
    if last >= len(text):
        return len(text)
    for kind in _ENDS:
        ends = [found.end() for found in kind.finditer(text, start + (last - start) // 2, last)]
        if ends:
            return ends[-1]
    return last
