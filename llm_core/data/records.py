"""The records that a source yields: documents, bad records, and skipped records."""

from typing import NamedTuple

from xxhash import xxh3_128_hexdigest

EXCERPT_CHARACTERS = 100


class Document(NamedTuple):
    """A text of ``size`` bytes in UTF-8, and its place: record number ``row`` of ``origin``, from 0."""

    origin: str
    row: int
    text: str
    size: int
    url: str | None = None


class BadRecord(NamedTuple):
    """A record that is set aside, with the reason and an escaped piece of text around the fault.

    ``expected``: the file has no fault (a web page without any text), so the record does not count as bad.
    """

    origin: str
    row: int
    reason: str
    excerpt: str
    expected: bool = False


class Skipped(NamedTuple):
    """Consecutive ``records`` that are not read: they are no texts (a request in a web archive), or do not meet a
    condition of the source's ``where``. They are counted by kind."""

    kind: str
    records: int = 1


Record = Document | BadRecord | Skipped


def document_id(source: str, origin: str, row: int) -> str:
    """The identity of a document: 32 hexadecimal digits. It depends on the document's place only."""
    return xxh3_128_hexdigest(f"{source}|{origin}|{row}".encode())


def excerpt(content: str | bytes, around: int = 0) -> str:
    """A short piece of ``content`` that starts a little before ``around``, in printable ASCII."""
    start = max(0, around - EXCERPT_CHARACTERS // 4)
    piece = content[start : start + EXCERPT_CHARACTERS]
    return ascii(piece)[2:-1] if isinstance(piece, bytes) else ascii(piece)[1:-1]


def as_document(origin: str, row: int, text: str, url: object = None) -> Document | BadRecord:
    """``text`` as a document; a bad record if it is empty, or has NUL or lone surrogates.

    ``url``: the record's value for its address: a string, or None if there is none.
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
