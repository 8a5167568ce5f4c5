"""Which fields of a record a source reads, and where they stand: ``data.text`` is ``text`` inside ``data``."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from llm_core.data.sources.paths import shown
from llm_core.errors import PedigreeError
from llm_core.experiment.conditions import parsed_condition
from llm_core.experiment.sources import ReadingSpec
from llm_core.experiment.templates import parsed_template

KEYS_NAMED = 30

_ENOUGH = 1000
"""A field that so many records lack from the first on is no field of the file."""


class Absent:
    """Stands for the value of a field that a record does not have."""


ABSENT = Absent()


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """The value of the field ``name``, or ``ABSENT``. A key that holds the dots itself comes before nested ones."""
    if name in record:
        return record[name]
    end = name.rfind(".")
    while end > 0:
        inner = record.get(name[:end])
        if isinstance(inner, dict):
            value = value_at(inner, name[end + 1 :])
            if value is not ABSENT:
                return value
        end = name.rfind(".", 0, end)
    return ABSENT


def fields_read(reading: ReadingSpec) -> list[tuple[str, str]]:
    """(option of the source, field that it names) for all that is read of a record."""
    if reading.template is None:
        read = [("text_field", reading.text_field)]
    else:
        read = [("template", field) for field in parsed_template(reading.template).fields]
    if reading.url_field is not None:
        read.append(("url_field", reading.url_field))
    return list(dict.fromkeys([*read, *(("where", parsed_condition(text).field) for text in reading.where)]))


class ExpectedFields:
    """Looks for the fields that are read, until each was seen once."""

    def __init__(self, path: Path, reading: ReadingSpec) -> None:
        self._path = path
        self._unseen = fields_read(reading)
        self._keys: dict[str, None] = {}
        self._records = 0

    def look(self, record: Mapping[str, Any]) -> None:
        """A record; raises ``PedigreeError`` when a thousand of them lack a field."""
        if not self._unseen:
            return
        self._unseen = [(option, name) for option, name in self._unseen if value_at(record, name) is ABSENT]
        self._keys.update(dict.fromkeys(islice(keys_of(record), KEYS_NAMED)))
        self._records += 1
        if self._records == _ENOUGH:
            self.end()

    def end(self) -> None:
        """Raise for a field that no record had."""
        for option, name in self._unseen:
            if self._records:
                keys = ", ".join(repr(key) for key in islice(self._keys, KEYS_NAMED)) or "none"
                raise PedigreeError(
                    f"{shown(self._path)}: none of its first {self._records} records has the field {name!r}; keys that "
                    f"they have: {keys}. Name the right one in {option!r} of the source, or take the file out of it"
                )


def keys_of(record: Mapping[str, Any]) -> list[str]:
    """The keys of a record; those of an object in it follow its own, with a dot."""
    keys = []
    for key, value in islice(record.items(), KEYS_NAMED):
        keys.append(key)
        if isinstance(value, dict):
            keys += (f"{key}.{inner}" for inner in islice(value, KEYS_NAMED))
    return keys
