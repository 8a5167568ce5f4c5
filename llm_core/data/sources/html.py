"""Web pages: the main text of a page, without menus and footers (trafilatura; Barbaresi, 2021)."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from llm_core.data.records import BadRecord, Document, checked, excerpt
from llm_core.data.sources.jsonl import TOO_LONG
from llm_core.data.sources.streams import open_stream, read_up_to
from llm_core.experiment.sources import ReadingSpec
from llm_core.extras import missing

NO_TEXT = "no main text"

_DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
_DECLARED_WITHIN = 1024
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_LATIN = {"iso8859-1": "cp1252", "ascii": "cp1252"}  # pages that say so mean Windows' code page, as browsers know
_NO_WEB = {"idna", "punycode", "unicode_escape", "unicode-escape", "raw_unicode_escape", "utf-7"}


def html_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Document | BadRecord]:
    """One record: the page's main text. It has no row but 0 and no address."""
    with open_stream(path, reading.max_expansion) as stream:
        content = read_up_to(stream, reading.max_record_bytes + 1)
    yield page_record(origin, 0, content, reading)


def page_record(
    origin: str, row: int, content: bytes, reading: ReadingSpec, charset: str | None = None, url: str | None = None
) -> Document | BadRecord:
    """The main text of a page as a document. ``content``: at most ``max_record_bytes`` + 1 bytes of it."""
    if len(content) > reading.max_record_bytes:
        return BadRecord(origin, row, TOO_LONG, excerpt(url or content))
    text = main_text(decoded(content, charset))
    if not text:
        return BadRecord(origin, row, NO_TEXT, excerpt(url or content), expected=True)
    return checked(origin, row, text, url)


def decoded(content: bytes, charset: str | None = None) -> str:
    """A page as text: by its byte-order mark, by ``charset`` (the server's word), by its own; else UTF-8 or Windows.

    Bytes that the encoding does not know become U+FFFD, as in a browser. Nothing is guessed from statistics.
    """
    for mark, marked in _MARKS.items():
        if content.startswith(mark):
            return content[len(mark) :].decode(marked, errors="replace")
    declared = _DECLARED.search(content[:_DECLARED_WITHIN])
    by_server, by_page = _known(charset), _known(declared.group(1).decode("ascii") if declared else None)
    if by_page and by_page.startswith(("utf-16", "utf-32")):
        by_page = "utf-8"  # what could be read without knowing the encoding is not in that one
    if by_server or by_page:
        return content.decode(by_server or by_page or "", errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _known(name: str | None) -> str | None:
    """Python's name of a text encoding that is called ``name``; None where there is none."""
    if not name:
        return None
    name = name.strip().lower()
    try:
        b"a".decode(name, errors="replace")  # not every codec makes text
        name = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    return None if name in _NO_WEB else _LATIN.get(name, name)


def main_text(page: str) -> str | None:
    """What the page is about, as plain text; None where there is nothing."""
    try:
        from trafilatura import extract
    except ImportError as error:
        raise missing("reading HTML", f"trafilatura ({error})", "web") from None
    text: str | None = extract(
        page, include_comments=False, include_tables=True, favor_precision=True, deduplicate=False
    )
    return text
