"""Plain text: a file is a document."""

from collections.abc import Iterator
from pathlib import Path

from llm_core.data.records import BadRecord, Document, as_document, excerpt
from llm_core.data.sources.jsonl import BYTE_ORDER_MARK, TOO_LONG
from llm_core.data.sources.streams import open_stream, read_up_to
from llm_core.experiment.sources import ReadingSpec


def plain_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Document | BadRecord]:
    """One record: the whole file."""
    with open_stream(path, reading.max_expansion) as stream:
        content = read_up_to(stream, reading.max_record_bytes + 1)
    if len(content) > reading.max_record_bytes:
        yield BadRecord(origin, 0, TOO_LONG, excerpt(content))
        return
    try:
        text = content.removeprefix(BYTE_ORDER_MARK).decode("utf-8")
    except UnicodeDecodeError as error:
        yield BadRecord(origin, 0, "not UTF-8", excerpt(content, error.start))
        return
    yield as_document(origin, 0, text)
