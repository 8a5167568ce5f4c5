"""JSON lines: one object per line, its text under a key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.data.records import BadRecord, Record, excerpt
from llm_core.data.sources.fields import ExpectedFields
from llm_core.data.sources.paths import printable
from llm_core.data.sources.selecting import Selector, WrittenNumber
from llm_core.data.sources.streams import open_stream, read_lines
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import ReadingSpec

TOO_LONG = "longer than max_record_bytes"

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def jsonl_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """A record for every line that is not empty; rows are line numbers from 0.

    Raises ``PedigreeError`` for a file that is a list or one object over several lines, and if no record of the file,
    or of its first thousand, has a field that is read.
    """
    expected, selector = ExpectedFields(path, reading), Selector(reading)
    parse_float = None if reading.template is None else WrittenNumber
    begun = False
    with open_stream(path, reading.max_expansion) as stream:
        for row, (line, whole) in enumerate(read_lines(stream, reading.max_record_bytes)):
            line = line.removeprefix(BYTE_ORDER_MARK)  # in the middle, too: files may have been joined
            if not begun and line.strip():
                check_lines(path, line)
                begun = True
            if not whole:
                yield BadRecord(origin, row, TOO_LONG, excerpt(line))
                continue
            if line and not line.isspace():
                found = _object(origin, row, line, parse_float)
                if isinstance(found, BadRecord):
                    yield found
                else:
                    expected.look(found)
                    yield selector.record(origin, row, found, line.decode)
    expected.end()


def check_lines(path: Path, first: bytes) -> None:
    """Raise ``PedigreeError`` if the first line shows that the file does not have an object per line."""
    start = first.strip()
    if start == b"{" or start.startswith(b"["):
        try:
            found = f"; it has a list of {len(json.loads(start))} records in one line"
        except (ValueError, RecursionError):  # it goes on in the next line
            found = ""
        raise PedigreeError(
            f"{printable(path)}: is JSON, but not an object per line{found}; convert it "
            "(`jq -c '.[]' FILE > FILE.jsonl` for a list, `jq -c . FILE > FILE.jsonl` for objects over several lines), "
            "or take the file out of the source"
        )


def _object(origin: str, row: int, line: bytes, parse_float: type[WrittenNumber] | None) -> dict[str, Any] | BadRecord:
    try:
        content = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRecord(origin, row, "not UTF-8", excerpt(line, error.start))
    try:
        value = json.loads(content, parse_float=parse_float)
    except json.JSONDecodeError as error:
        return BadRecord(origin, row, "not JSON", excerpt(content, error.pos))
    except (ValueError, RecursionError):  # numbers of thousands of digits, thousands of brackets
        return BadRecord(origin, row, "not JSON", excerpt(content))
    return value if isinstance(value, dict) else BadRecord(origin, row, "not an object", excerpt(content))
