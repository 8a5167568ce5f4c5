"""The fields of a record that a source reads. ``data.text`` is the field ``text`` inside ``data``."""

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.data.records import excerpt
from llm_core.data.sources.matching import NAMES, is_of_kind
from llm_core.data.sources.paths import printable
from llm_core.errors import PedigreeError
from llm_core.experiment.conditions import Kind, parsed_condition
from llm_core.experiment.sources import ReadingSpec
from llm_core.experiment.templates import parsed_template

Converter = Callable[[Any, Kind], Any]
"""Converts a value to the kind that it is compared with. A value that can't be converted is returned unchanged."""

KEYS_NAMED = 30

_ENOUGH = 1000
"""If so many first records lack a field, or have it with wrong values, the source names a wrong field."""


class Absent:
    """The type of ``ABSENT``, the value of a field that a record does not have."""


ABSENT = Absent()


def value_at(record: Mapping[str, Any], name: str) -> Any:
    """The value of the field ``name``, or ``ABSENT``. A key with dots in its own name goes before nested keys."""
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


class Wanted(NamedTuple):
    """A field that is read: the option of the source that names it, and the kinds that its value may have.

    ``condition``: the condition of ``where``, as written.
    """

    option: str
    name: str
    kinds: tuple[Kind, ...]
    condition: str = ""


def fields_read(reading: ReadingSpec) -> list[Wanted]:
    """All fields that are read of a record."""
    if reading.template is None:
        read = [Wanted("text_field", reading.text_field, ("text",))]
    else:
        read = [Wanted("template", field, ("text", "number")) for field in parsed_template(reading.template).fields]
    if reading.url_field is not None:
        read.append(Wanted("url_field", reading.url_field, ("text",)))
    conditions = map(parsed_condition, reading.where)
    read += (Wanted("where", condition.field, (condition.kind,), condition.text) for condition in conditions)
    return list(dict.fromkeys(read))


class ExpectedFields:
    """Checks that the fields exist: looks at records until each field was seen with a usable value or null.

    ``convert``: as for ``Selector``.
    """

    def __init__(self, path: Path, reading: ReadingSpec, convert: Converter | None = None) -> None:
        self._path, self._convert = path, convert
        self._unseen = fields_read(reading)
        self._wrong: dict[Wanted, Any] = {}
        self._keys: dict[str, None] = {}
        self._records = 0

    def look(self, record: Mapping[str, Any]) -> None:
        """Look at a record. Raises ``PedigreeError`` when a thousand lack a field, or have it with wrong values."""
        if not self._unseen:
            return
        self._unseen = [wanted for wanted in self._unseen if not self._has(record, wanted)]
        self._keys.update(dict.fromkeys(islice(keys_of(record), KEYS_NAMED)))
        self._records += 1
        if self._records == _ENOUGH:
            self.end()

    def _has(self, record: Mapping[str, Any], wanted: Wanted) -> bool:
        value = value_at(record, wanted.name)
        if value is ABSENT:
            return False
        if self._convert is not None and wanted.condition:
            value = self._convert(value, wanted.kinds[0])
        if value is None or value != value or value == "" or any(is_of_kind(value, kind) for kind in wanted.kinds):
            return True
        self._wrong.setdefault(wanted, value)
        return False

    def end(self) -> None:
        """Raise ``PedigreeError`` for a field that no record had, or that a thousand records had with wrong values. If
        fewer records had wrong values, they are bad records."""
        for wanted in self._unseen:
            if wanted in self._wrong:
                if self._records < _ENOUGH:
                    continue
                kinds = " or ".join(NAMES[kind] for kind in wanted.kinds)
                condition = f" ({wanted.condition})" if wanted.condition else ""
                raise PedigreeError(
                    f"{printable(self._path)}: the field {wanted.name!r} is not {kinds} in any of its first "
                    f"{self._records} records, but {wanted.option!r} of the source needs that{condition}; one is "
                    f"{excerpt(repr(self._wrong[wanted]))}. Name another field, or take the file out of the source"
                )
            if self._records:
                keys = ", ".join(repr(key) for key in islice(self._keys, KEYS_NAMED)) or "none"
                raise PedigreeError(
                    f"{printable(self._path)}: none of its first {self._records} records has the field "
                    f"{wanted.name!r}; their keys are {keys}. Name the right one in {wanted.option!r} of the source, "
                    "or take the file out of it"
                )


def keys_of(record: Mapping[str, Any]) -> list[str]:
    """The keys of a record. Keys of an inner object follow the object's key, as ``outer.inner``."""
    keys = []
    for key, value in islice(record.items(), KEYS_NAMED):
        keys.append(key)
        if isinstance(value, dict):
            keys += (f"{key}.{inner}" for inner in islice(value, KEYS_NAMED))
    return keys
