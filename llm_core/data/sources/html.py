"""Web pages: the main text of a page, without menus and footers (trafilatura; Barbaresi, 2021)."""

from collections.abc import Iterator
from pathlib import Path

from llm_core.data.records import BadRecord, Document, as_document, excerpt
from llm_core.data.sources.encodings import decoded
from llm_core.data.sources.jsonl import TOO_LONG
from llm_core.data.sources.streams import open_stream, read_up_to
from llm_core.experiment.sources import ReadingSpec
from llm_core.extras import missing

NO_TEXT = "no main text"


def html_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Document | BadRecord]:
    """One record: the page's main text, as row 0 and without address."""
    with open_stream(path, reading.max_expansion) as stream:
        content = read_up_to(stream, reading.max_record_bytes + 1)
    yield page_record(origin, 0, content, reading)


def page_record(
    origin: str, row: int, content: bytes, reading: ReadingSpec, charset: str | None = None, url: str | None = None
) -> Document | BadRecord:
    """The main text of a page as a document. ``content``: its first ``max_record_bytes`` + 1 bytes at most."""
    if len(content) > reading.max_record_bytes:
        return BadRecord(origin, row, TOO_LONG, excerpt(url or content))
    text = main_text(decoded(content, charset))
    if not text:
        return BadRecord(origin, row, NO_TEXT, excerpt(url or content), expected=True)
    return as_document(origin, row, text, url)


def main_text(page: str) -> str | None:
    """The main text of the page, as plain text; None if there is none."""
    try:
        from trafilatura import extract
    except ImportError as error:
        raise missing("reading HTML", f"trafilatura ({error})", "web") from None
    text: str | None = extract(
        page, include_comments=False, include_tables=True, favor_precision=True, deduplicate=False
    )
    return text
