"""Delimited text (csv, tsv): one document a row, whose fields the first row names."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from llm_core.data.records import BadRecord, Record, Skipped, excerpt
from llm_core.data.sources.fields import ABSENT, KEYS_NAMED, ExpectedFields, fields_read, value_at
from llm_core.data.sources.jsonl import BYTE_ORDER_MARK, TOO_LONG
from llm_core.data.sources.paths import shown
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
"""At most so many times the bytes of a file are read again after rows that a quotation mark has made too long."""


def csv_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """The records of a file of comma-separated values."""
    return _records(origin, path, reading, ",")


def tsv_records(origin: str, path: Path, reading: ReadingSpec) -> Iterator[Record]:
    """The records of a file of values that are separated by tabs, with quotes as in csv."""
    return _records(origin, path, reading, "\t")


def _records(origin: str, path: Path, reading: ReadingSpec, delimiter: str) -> Iterator[Record]:
    """A record for every row below the header; rows are numbered from 0, without empty lines.

    A cell may hold line breaks between double quotes. Of a broken row of several lines, only the first line is set
    aside: most likely a quotation mark in it has no partner, and the others are rows. Raises ``PedigreeError`` where
    the header can't be read, or lacks a field that is read.
    """
    expected, selector = ExpectedFields(path, reading, _comparable), Selector(reading, _comparable)
    # The module has one limit for the whole process; rows are bounded by their lines anyway.
    csv.field_size_limit(max(csv.field_size_limit(), reading.max_record_bytes))
    with open_stream(path, reading.max_expansion) as stream:
        rows = _Rows(stream, reading.max_record_bytes, delimiter)
        names = next((row for row in rows if row), None)
        if names is None:
            return
        header = _header(path, names, reading)
        row = 0
        for cells in rows:
            if isinstance(cells, _Broken):
                yield BadRecord(origin, row, cells.reason, excerpt(cells.content))
            elif not cells:
                continue
            elif cells == header:  # files were put together with theirs
                yield Skipped(HEADER_AGAIN)
            elif len(cells) != len(header):
                reason = "not as many cells as the header"
                yield BadRecord(origin, row, reason, excerpt(rows.content))
            else:
                value = dict(zip(header, cells, strict=True))
                if reading.url_field is not None and value.get(reading.url_field) == "":
                    del value[reading.url_field]  # an empty cell is no address
                expected.look(value)
                yield selector.record(origin, row, value, lambda: rows.content.decode("utf-8"))
            row += 1


class _Broken:
    """A row that can't be read."""

    def __init__(self, reason: str, content: bytes) -> None:
        self.reason, self.content = reason, content


class _TooLongError(Exception):
    pass


class _Rows(Iterator[list[str] | _Broken]):
    """The rows of a stream; ``content`` is the start of the last one as it stands in the file."""

    def __init__(self, stream: BinaryIO, limit: int, delimiter: str) -> None:
        self._lines = read_lines(stream, limit, ends=b"")
        self._again: list[tuple[bytes, bool]] = []  # lines that are read again, the next one last
        self._spare = 0
        self._limit = limit
        self._reader = csv.reader(_Lines(self), delimiter=delimiter, strict=True)
        self._first = True
        self._pieces: list[tuple[bytes, bool]] = []  # of the row: its lines, and whether they are whole
        self._size = 0
        self._utf8 = True

    @property
    def content(self) -> bytes:
        """The bytes of the row."""
        return b"\n".join(line for line, _ in self._pieces)

    def __next__(self) -> list[str] | _Broken:
        self._pieces, self._size, self._utf8 = [], 0, True
        try:
            cells = next(self._reader)
        except _TooLongError:
            return self._broken(TOO_LONG)
        except csv.Error as error:
            return self._broken(_reason(error))
        return cells if self._utf8 else _Broken("not UTF-8", self._around_fault())

    def _broken(self, reason: str) -> _Broken:
        """The row, or its first line where the others are read again."""
        rest = self._pieces[1:]
        size = sum(len(line) for line, _ in rest)
        if rest and size <= self._spare:
            self._spare -= size
            self._again += reversed(rest)
            reason, self._pieces = f"{reason} (a quotation mark without its partner?)", self._pieces[:1]
        return _Broken(reason, self.content)

    def next_line(self) -> str:
        """The next line for the parser, with its end."""
        if self._again:
            line, whole = self._again.pop()
        else:
            line, whole = next(self._lines)
            self._spare += _READ_AGAIN * len(line)
        if self._first:
            line, self._first = line.removeprefix(BYTE_ORDER_MARK), False
        self._size += len(line)
        self._pieces.append((line, whole))
        if not whole or self._size > self._limit:
            raise _TooLongError
        try:
            return line.decode("utf-8") + "\n"
        except UnicodeDecodeError:
            self._utf8 = False
            return line.decode("utf-8", errors="surrogateescape") + "\n"

    def _around_fault(self) -> bytes:
        content = self.content
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            return content[max(0, error.start - 20) :]
        return content


def _reason(error: csv.Error) -> str:
    if "new-line" in str(error):
        return "not csv: a carriage return that neither ends a line nor stands between quotation marks"
    return f"not csv: {error}"


class _Lines(Iterator[str]):
    """What the parser asks for lines. No generator: one that has raised would be at its end."""

    def __init__(self, rows: _Rows) -> None:
        self._rows = rows

    def __next__(self) -> str:
        return self._rows.next_line()


def _header(path: Path, names: list[str] | _Broken, reading: ReadingSpec) -> list[str]:
    """The names of the fields, all of which are distinct."""
    if isinstance(names, _Broken):
        raise PedigreeError(
            f"{shown(path)}: its first row, which names the fields, can't be read: {names.reason}; mend the file"
        )
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise PedigreeError(f"{shown(path)}: its first row names two fields {twice!r}; rename one")
    for wanted in fields_read(reading):
        if value_at(dict.fromkeys(names), wanted.name) is ABSENT:
            there = ", ".join(map(repr, names[:KEYS_NAMED])) or "none"
            raise PedigreeError(
                f"{shown(path)}: its first row has no field {wanted.name!r}; there are {there}. Name the right one in "
                f"{wanted.option!r} of the source, or take the file out of it"
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
