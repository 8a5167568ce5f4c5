"""JSON lines: one object a line, its text under a key."""

import json
from collections.abc import Iterator
from pathlib import Path

from llm_core.data.records import BadRecord, Document, checked, excerpt
from llm_core.data.sources.streams import open_stream, read_lines
from llm_core.experiment.sources import ReadingSpec

TOO_LONG = "longer than max_record_bytes"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def jsonl_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Document | BadRecord]:
    """A record for every line that is not empty; rows are line numbers from 0."""
    with open_stream(path, reading.max_expansion) as stream:
        for row, (line, whole) in enumerate(read_lines(stream, reading.max_record_bytes)):
            if not whole:
                yield BadRecord(origin, row, TOO_LONG, excerpt(line))
                continue
            if not row:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if line and not line.isspace():
                yield _from_line(origin, row, line, reading)


def _from_line(origin: str, row: int, line: bytes, reading: ReadingSpec) -> Document | BadRecord:
    try:
        content = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRecord(origin, row, "not UTF-8", excerpt(line, error.start))
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        return BadRecord(origin, row, "not JSON", excerpt(content, error.pos))
    except (ValueError, RecursionError):  # numbers of thousands of digits, thousands of brackets
        return BadRecord(origin, row, "not JSON", excerpt(content))
    if not isinstance(value, dict):
        return BadRecord(origin, row, "not an object", excerpt(content))
    text = value.get(reading.text_field)
    if text is None:
        return BadRecord(origin, row, "no text", excerpt(content))
    if not isinstance(text, str):
        return BadRecord(origin, row, "text is not a string", excerpt(content))
    return checked(origin, row, text, None if reading.url_field is None else value.get(reading.url_field))
