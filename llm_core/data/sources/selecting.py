"""Makes documents of records with named fields (JSON objects, rows of csv), by the source's fields and conditions."""

from collections.abc import Callable, Mapping
from typing import Any

from llm_core.data.records import BadRecord, Record, Skipped, as_document, excerpt
from llm_core.data.sources.fields import ABSENT, Converter, value_at
from llm_core.data.sources.matching import is_of_kind, meets, missing_reason, skipped_kind, wrong_reason
from llm_core.experiment.conditions import parsed_condition
from llm_core.experiment.sources import ReadingSpec
from llm_core.experiment.templates import parsed_template


class WrittenNumber(float):
    """A number that knows how it was written, for templates."""

    written: str

    def __new__(cls, text: str) -> "WrittenNumber":
        """The number that ``text`` is."""
        number = super().__new__(cls, text)
        number.written = text
        return number


class Selector:
    """Makes documents of records. ``convert`` converts values before comparisons, for formats that have only text."""

    def __init__(self, reading: ReadingSpec, convert: Converter | None = None) -> None:
        self._conditions = [parsed_condition(text) for text in reading.where]
        self._template = None if reading.template is None else parsed_template(reading.template)
        self._text_field, self._url_field = reading.text_field, reading.url_field
        self._convert = convert

    def record(self, origin: str, row: int, value: Mapping[str, Any], raw: Callable[[], str]) -> Record:
        """The record as a document, bad or skipped record. ``raw`` returns its text in the file, for an excerpt."""
        for condition in self._conditions:
            found = value_at(value, condition.field)
            if found is ABSENT or found is None:
                return BadRecord(origin, row, missing_reason(condition), excerpt(raw()))
            if self._convert is not None:
                found = self._convert(found, condition.kind)
            if not is_of_kind(found, condition.kind):
                return BadRecord(origin, row, wrong_reason(condition), excerpt(raw()))
            if not meets(condition, found):
                return Skipped(skipped_kind(condition))
        text = self._joined(value)
        if isinstance(text, _Fault):
            return BadRecord(origin, row, text, excerpt(raw()))
        url = None if self._url_field is None else value_at(value, self._url_field)
        return as_document(origin, row, text, None if url is ABSENT else url)

    def _joined(self, value: Mapping[str, Any]) -> "str | _Fault":
        if self._template is None:
            text = value_at(value, self._text_field)
            if text is ABSENT or text is None:
                return _Fault("no text")
            return text if isinstance(text, str) else _Fault("text is not a string")
        pieces = []
        for field in self._template.fields:
            piece = value_at(value, field)
            if piece is ABSENT or piece is None:
                return _Fault(f"no {field}")
            if isinstance(piece, WrittenNumber):
                piece = piece.written
            elif isinstance(piece, int | float) and not isinstance(piece, bool):
                piece = str(piece)
            if not isinstance(piece, str):
                return _Fault(f"{field} is neither text nor a number")
            pieces.append(piece)
        return self._template.filled(pieces)


class _Fault(str):
    """The reason why a record has no text."""
