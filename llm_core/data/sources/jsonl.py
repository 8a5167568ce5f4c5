"""JSON lines: one object a line, its text under a key."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from llm_core.data.records import BadRecord, Document, checked, excerpt
from llm_core.data.sources.paths import shown
from llm_core.data.sources.streams import open_stream, read_lines
from llm_core.errors import PedigreeError
from llm_core.experiment.sources import ReadingSpec

TOO_LONG = "longer than max_record_bytes"

_ENOUGH = 1000
"""A field that so many records lack from the first on is no field of the file."""

_KEYS_NAMED = 30

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def jsonl_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Document | BadRecord]:
    """A record for every line that is not empty; rows are line numbers from 0.

    Raises ``PedigreeError`` where no record of the file, or of its first thousand, has a field that is read.
    """
    expected = _Expected(path, reading)
    with open_stream(path, reading.max_expansion) as stream:
        for row, (line, whole) in enumerate(read_lines(stream, reading.max_record_bytes)):
            if not whole:
                yield BadRecord(origin, row, TOO_LONG, excerpt(line))
                continue
            if not row:
                line = line.removeprefix(_BYTE_ORDER_MARK)
            if line and not line.isspace():
                found = _object(origin, row, line)
                if isinstance(found, BadRecord):
                    yield found
                else:
                    expected.look(found)
                    yield _document(origin, row, found, reading, line)
    expected.end()


class _Expected:
    """Looks for the fields that are read, until each was seen once."""

    def __init__(self, path: Path, reading: ReadingSpec) -> None:
        self._path = path
        fields = {"text_field": reading.text_field, "url_field": reading.url_field}
        self._unseen = {what: name for what, name in fields.items() if name is not None}
        self._keys: dict[str, None] = {}
        self._records = 0

    def look(self, value: dict[str, Any]) -> None:
        """A record."""
        if not self._unseen:
            return
        self._unseen = {what: name for what, name in self._unseen.items() if name not in value}
        self._keys.update(dict.fromkeys(islice(value, _KEYS_NAMED)))
        self._records += 1
        if self._records == _ENOUGH:
            self.end()

    def end(self) -> None:
        """Raise for a field that no record had."""
        for what, name in self._unseen.items():
            if self._records:
                keys = ", ".join(repr(key) for key in islice(self._keys, _KEYS_NAMED)) or "none"
                raise PedigreeError(
                    f"{shown(self._path)}: none of its first {self._records} records has the field {name!r}; keys that "
                    f"they have: {keys}. Name the right one in {what!r} of the source, or take the file out of it"
                )


def _object(origin: str, row: int, line: bytes) -> dict[str, Any] | BadRecord:
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
    return value if isinstance(value, dict) else BadRecord(origin, row, "not an object", excerpt(content))


def _document(origin: str, row: int, value: dict[str, Any], reading: ReadingSpec, line: bytes) -> Document | BadRecord:
    text = value.get(reading.text_field)
    if text is None:
        return BadRecord(origin, row, "no text", excerpt(line.decode("utf-8")))
    if not isinstance(text, str):
        return BadRecord(origin, row, "text is not a string", excerpt(line.decode("utf-8")))
    return checked(origin, row, text, None if reading.url_field is None else value.get(reading.url_field))
