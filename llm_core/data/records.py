"""What a source yields: documents, records that can't be documents, and records that are none."""

from typing import NamedTuple

from xxhash import xxh3_128_hexdigest

EXCERPT_CHARACTERS = 100


class Document(NamedTuple):
    """A text of ``size`` bytes in UTF-8, and where it stands: ``row`` counts the records of ``origin`` from 0."""

    origin: str
    row: int
    text: str
    size: int
    url: str | None = None


class BadRecord(NamedTuple):
    """A record that is set aside: why, and an escaped piece of it from around the fault.

    ``expected``: nothing is wrong with the file (a web page without any text); it does not count against it.
    """

    origin: str
    row: int
    reason: str
    excerpt: str
    expected: bool = False


class Skipped(NamedTuple):
    """As many ``records`` in a row that are no text by their own account (a request in a web archive), or that do not
    meet a condition of the source's ``where``: counted by kind."""

    kind: str
    records: int = 1


Record = Document | BadRecord | Skipped


def document_id(source: str, origin: str, row: int) -> str:
    """The identity of a document: 32 hexadecimal digits that follow from where it stands alone."""
    return xxh3_128_hexdigest(f"{source}|{origin}|{row}".encode())


def excerpt(content: str | bytes, around: int = 0) -> str:
    """A short piece of ``content`` from a little before ``around`` on, in printable ASCII."""
    start = max(0, around - EXCERPT_CHARACTERS // 4)
    piece = content[start : start + EXCERPT_CHARACTERS]
    return ascii(piece)[2:-1] if isinstance(piece, bytes) else ascii(piece)[1:-1]


def checked(origin: str, row: int, text: str, url: object = None) -> Document | BadRecord:
    """``text`` as a document, unless it holds what text files and training can't: nothing, NUL, lone surrogates.

    ``url`` is what the record gives as its address: a string, or null where there is none.
    """
    if not text or text.isspace():
        return BadRecord(origin, row, "empty text", excerpt(text))
    nul = text.find("\0")
    if nul >= 0:
        return BadRecord(origin, row, "NUL character", excerpt(text, nul))
    try:
        size = len(text) if text.isascii() else len(text.encode("utf-8"))
    except UnicodeEncodeError as error:
        return BadRecord(origin, row, "lone surrogate", excerpt(text, error.start))
    if url is None:
        return Document(origin, row, text, size)
    if not isinstance(url, str):
        return BadRecord(origin, row, "url is not a string", excerpt(repr(url)))
    try:
        url.encode("utf-8")
    except UnicodeEncodeError as error:
        return BadRecord(origin, row, "lone surrogate in the url", excerpt(url, error.start))
    return Document(origin, row, text, size, url)
