"""Delimited text (csv, tsv): one document per row; the first row names the fields."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from llm_core.data.records import BadRecord, Record, Skipped, excerpt
from llm_core.data.sources.fields import ABSENT, KEYS_NAMED, ExpectedFields, fields_read, value_at
from llm_core.data.sources.jsonl import BYTE_ORDER_MARK, TOO_LONG
from llm_core.data.sources.paths import printable
from llm_core.data.sources.selecting import Selector
from llm_core.data.sources.streams import open_stream, read_lines
from llm_core.errors import PedigreeError
from llm_core.experiment.conditions import Kind
from llm_core.experiment.sources import ReadingSpec

HEADER_AGAIN = "header again"

_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_TRUTHS = {"true": True, "false": False}
_READ_AGAIN = 8
"""Bytes that may be read again after unclosed quotation marks, per byte of the file. It keeps the time linear."""


def csv_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """The records of a file of comma-separated values."""
    return _records(origin, path, reading, ",")


def tsv_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """The records of a file of tab-separated values, with quotes as in csv."""
    return _records(origin, path, reading, "\t")


def _records(origin: str, path: Path, reading: ReadingSpec, delimiter: str) -> Iterator[Record]:
    """A record for every row below the header; rows are numbered from 0, without empty lines.

    Between double quotes, a cell may contain line breaks. If a row of several lines is broken, only its first line is
    set aside: most likely that line has a quotation mark without a partner, and the next lines are rows of their own.
    The excerpt of a broken row starts with its line in the file, from 1.

    Raises ``PedigreeError`` where the header can't be read or lacks a field that is read, and where too many quotation
    marks have no partner for the next lines to be read again.
    """
    expected, selector = ExpectedFields(path, reading, _comparable), Selector(reading, _comparable)
    # csv has one limit for the whole process. Rows have a limit of their own here.
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_record_bytes))
    with open_stream(path, reading.max_expansion) as stream:
        rows = _Rows(path, stream, reading.max_record_bytes, delimiter)
        names = next((row for row in rows if row), None)
        if names is None:
            return
        header = _header(path, names, reading)
        row = 0
        for cells in rows:
            if isinstance(cells, _Broken):
                yield BadRecord(origin, row, cells.reason, f"line {rows.line}: {excerpt(cells.content)}")
            elif not cells:
                continue
            elif cells == header:  # of a file that was appended
                yield Skipped(HEADER_AGAIN)
            elif len(cells) != len(header):
                reason = "not as many cells as the header"
                yield BadRecord(origin, row, reason, f"line {rows.line}: {excerpt(rows.content)}")
            else:
                value = dict(zip(header, cells, strict=True))
                if reading.url_field is not None and value.get(reading.url_field) == "":
                    del value[reading.url_field]  # an empty cell is no address
                expected.look(value)
                yield selector.record(origin, row, value, lambda: rows.content.decode("utf-8"))
            row += 1


class _Broken(NamedTuple):
    """A row that can't be read."""

    reason: str
    content: bytes


class _TooLongError(Exception):
    pass


class _Line(NamedTuple):
    number: int
    content: bytes
    whole: bool


class _Rows(Iterator[list[str] | _Broken]):
    """The rows of a stream. ``line``, ``content``: the first line and the bytes of the last row."""

    def __init__(self, path: Path, stream: BinaryIO, limit: int, delimiter: str) -> None:
        self._path, self._limit = path, limit
        lines = read_lines(stream, limit, ends=b"")
        self._unread = (_Line(number, *line) for number, line in enumerate(lines, 1))
        self._again: list[_Line] = []  # lines to read again, the next one last
        self._spare = 0  # bytes that may still be read again
        self._reader = csv.reader(_Lines(self), delimiter=delimiter, strict=True)
        self._row: list[_Line] = []
        self._size = 0
        self._utf8 = True

    @property
    def line(self) -> int:
        """The number of the row's first line."""
        return self._row[0].number

    @property
    def content(self) -> bytes:
        """The bytes of the row."""
        return b"\n".join(line.content for line in self._row)

    def __next__(self) -> list[str] | _Broken:
        self._row, self._size, self._utf8 = [], 0, True
        try:
            cells = next(self._reader)
        except _TooLongError:
            return self._broken(TOO_LONG)
        except csv.Error as error:
            return self._broken(_reason(error))
        return cells if self._utf8 else _Broken("not UTF-8", self._around_fault())

    def _broken(self, reason: str) -> _Broken:
        """The row, or only its first line if it has several; the others are then read again."""
        rest = self._row[1:]
        if rest:
            self._spare -= sum(len(line.content) for line in rest)
            if self._spare < 0:
                raise PedigreeError(
                    f"{printable(self._path)}: line {self.line}: a quotation mark without its partner, as in many "
                    "lines before it. Mend the quotation marks, or take the file out of the source"
                )
            self._again += reversed(rest)
            reason, self._row = f"{reason} (a quotation mark without its partner?)", self._row[:1]
        return _Broken(reason, self.content)

    def next_line(self) -> str:
        """The next line for the parser, with its end."""
        if self._again:
            line = self._again.pop()
        else:
            line = next(self._unread)
            self._spare += _READ_AGAIN * len(line.content)
        if line.number == 1:
            line = line._replace(content=line.content.removeprefix(BYTE_ORDER_MARK))
        self._size += len(line.content)
        self._row.append(line)
        if not line.whole or self._size > self._limit:
            raise _TooLongError
        try:
            return line.content.decode("utf-8") + "\n"
        except UnicodeDecodeError:
            self._utf8 = False
            return line.content.decode("utf-8", errors="surrogateescape") + "\n"

    def _around_fault(self) -> bytes:
        content = self.content
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            return content[max(0, error.start - 20) :]
        return content


def _reason(error: csv.Error) -> str:
    if "new-line" in str(error):
        return "not csv: a carriage return that neither ends a line nor is between quotation marks"
    return f"not csv: {error}"


class _Lines(Iterator[str]):
    """The lines for the parser. A generator can't do this: it ends once it has raised."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows

    def __next__(self) -> str:
        return self._rows.next_line()


def _header(path: Path, names: list[str] | _Broken, reading: ReadingSpec) -> list[str]:
    """The names of the fields, which must be distinct."""
    if isinstance(names, _Broken):
        raise PedigreeError(
            f"{printable(path)}: its first row, which names the fields, can't be read: {names.reason}; mend the file"
        )
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise PedigreeError(f"{printable(path)}: its first row names two fields {twice!r}; rename one")
    for wanted in fields_read(reading):
        if value_at(dict.fromkeys(names), wanted.name) is ABSENT:
            found = ", ".join(map(repr, names[:KEYS_NAMED])) or "none"
            raise PedigreeError(
                f"{printable(path)}: its first row has no field {wanted.name!r}; its fields are {found}. Name the "
                f"right one in {wanted.option!r} of the source, or take the file out of it"
            )
    return names


def _comparable(cell: Any, kind: Kind) -> Any:
    if kind == "truth":
        return _TRUTHS.get(cell.strip().lower(), cell)
    if kind == "number":
        content = cell.strip()
        if _WHOLE.fullmatch(content):
            return int(content)
        if _NUMBER.fullmatch(content):
            return float(content)
    return cell
