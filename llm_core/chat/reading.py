"""Records of files → conversations, by the fields and templates of their source."""

import ast
import json
import math
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import polars as pl

from llm_core.chat.conversation import ConversationError, Turn, answered, checked
from llm_core.data.records import EXCERPT_CHARACTERS, excerpt
from llm_core.data.sources.fields import ABSENT, KEYS_NAMED, keys_of, value_at
from llm_core.data.sources.formats import format_of
from llm_core.data.sources.jsonl import BYTE_ORDER_MARK, TOO_LONG, check_lines
from llm_core.data.sources.matching import is_of_kind, meets
from llm_core.data.sources.paths import printable, unreadable
from llm_core.data.sources.streams import open_stream, read_lines
from llm_core.data.sources.unpacking import DamagedError, ExpansionError, NeedsMoreError
from llm_core.errors import PedigreeError
from llm_core.experiment.conditions import parsed_condition
from llm_core.experiment.preference import PreferenceSource
from llm_core.experiment.templates import parsed_template
from llm_core.experiment.tuning import ConversationSource, RecordSource, Syntax

JSON_LINES, PARQUET = (".jsonl", ".ndjson", ".json"), (".parquet",)
"""The formats of conversations."""


class Conversation(NamedTuple):
    """Record number ``row`` of its file. ``left_out``: turns after the last answer. ``rejected``: the worse answer to
    the same turns, in a source of preferences."""

    row: int
    turns: list[Turn]
    left_out: int
    rejected: str | None = None


class Dropped(NamedTuple):
    """A record that is no conversation, with the reason and the beginning of the record."""

    row: int
    reason: str
    excerpt: str


class Skipped(NamedTuple):
    """A record that does not meet a condition of ``where``."""

    row: int


Form = TypeVar("Form", bound=RecordSource)


class RecordReader(ABC, Generic[Form]):
    """Makes conversations of the records of ``source``."""

    def __init__(self, source: Form) -> None:
        self._source = source
        self._conditions = [parsed_condition(text) for text in source.where]

    def conversation(self, row: int, record: Mapping[str, Any]) -> Conversation | Dropped | Skipped:
        """The conversation in a record, or why there is none."""
        for condition in self._conditions:
            found = value_at(record, condition.field)
            if not is_of_kind(found, condition.kind):
                return Dropped(row, f"where {condition.text}: no such value", _shown(record))
            if not meets(condition, found):
                return Skipped(row)
        try:
            return self._made(row, record)
        except ConversationError as error:
            return Dropped(row, error.reason, _shown(record))
        except RecursionError:
            return Dropped(row, "nested too deeply", _shown(record))

    @abstractmethod
    def _made(self, row: int, record: Mapping[str, Any]) -> Conversation:
        """The conversation in a record. Raises ``ConversationError``."""

    def _checked(self, messages: list[dict[str, Any]], record: Mapping[str, Any]) -> list[Turn]:
        """The messages as turns, with the source's system line, and without what it removes."""
        system = self._source.system
        if system is not None and (not messages or messages[0]["role"] != "system"):
            messages = [{"role": "system", "content": _filled(system, record)}, *messages]
        return checked([{**message, "content": self._without(message["content"])} for message in messages])

    def _listed(self, record: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
        source = self._source
        messages = value_at(record, field)
        if messages is ABSENT or messages is None:
            raise ConversationError(f"no field {field}", "")
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise ConversationError(f"{field} is no list of messages", "")
        return [
            {
                "role": source.roles.get(str(message.get(source.role_key)), message.get(source.role_key)),
                "content": message.get(source.content_key),
            }
            for message in messages
        ]

    def _without(self, content: Any) -> Any:
        if isinstance(content, str):
            for unwanted in self._source.remove:
                content = content.replace(unwanted, "")
        return content


class ConversationReader(RecordReader[ConversationSource]):
    """One conversation per record."""

    def __init__(self, source: ConversationSource) -> None:
        super().__init__(source)
        self._beginnings = _beginnings(source.speakers)

    def _made(self, row: int, record: Mapping[str, Any]) -> Conversation:
        turns = self._checked(self._messages(record), record)
        kept = answered(turns)
        return Conversation(row, kept, len(turns) - len(kept))

    def _messages(self, record: Mapping[str, Any]) -> list[dict[str, Any]]:
        form = self._source
        if form.messages is not None:
            return self._listed(record, form.messages)
        if form.dialogue is not None:
            return self._spoken(_text_at(record, form.dialogue))
        return _exchange(form.prompt, form.answer, record)

    def _spoken(self, dialogue: str) -> list[dict[str, Any]]:
        """The turns of a dialogue in one text. Lines without a speaker continue the turn before."""
        turns: list[dict[str, Any]] = []
        for line in dialogue.splitlines():
            begins = self._beginnings.match(line)
            if begins is None and not line.strip():
                continue
            if begins is None and not turns:
                raise ConversationError("a dialogue that begins without a speaker", "")
            role = turns[-1]["role"] if begins is None else self._source.speakers.get(begins[0])
            if role is None:
                raise ConversationError("another speaker", "")
            said = line.removeprefix(begins[0] if begins else "").strip()
            if turns and turns[-1]["role"] == role:
                turns[-1]["content"] += f"\n{said}"
            else:
                turns.append({"role": role, "content": said})
        return turns


class PairReader(RecordReader[PreferenceSource]):
    """One pair of answers per record."""

    def _made(self, row: int, record: Mapping[str, Any]) -> Conversation:
        form = self._source
        if form.chosen_messages is not None and form.rejected_messages is not None:
            sides = [self._listed(record, field) for field in (form.chosen_messages, form.rejected_messages)]
        else:
            sides = [_exchange(form.prompt, answer, record) for answer in (form.chosen, form.rejected)]
        chosen, rejected = (self._checked(messages, record) for messages in sides)
        if {chosen[-1].role, rejected[-1].role} != {"assistant"}:
            raise ConversationError("no answer", "")
        if chosen[:-1] != rejected[:-1]:
            raise ConversationError("the answers are to different turns", "")
        if chosen == rejected:
            raise ConversationError("chosen equals rejected", "")
        return Conversation(row, chosen, 0, rejected[-1].content)


def reader_of(source: RecordSource) -> RecordReader[Any]:
    """The reader of a source."""
    if isinstance(source, PreferenceSource):
        return PairReader(source)
    assert isinstance(source, ConversationSource)
    return ConversationReader(source)


def conversations(path: Path, source: RecordSource) -> Iterator[Conversation | Dropped | Skipped]:
    """Every record of a file. Raises ``PedigreeError`` for a file that can't be read, and for one without any
    conversation. Records that do not meet the conditions of ``where`` may be all that it has."""
    reader, keys, reasons, kept = reader_of(source), dict[str, None](), Counter[str](), 0
    try:
        for row, record in _records(path, source):
            found = record if isinstance(record, Dropped) else reader.conversation(row, record)
            if isinstance(found, Dropped):
                reasons[found.reason] += 1
                if not isinstance(record, Dropped) and len(keys) < KEYS_NAMED:
                    keys.update(dict.fromkeys(keys_of(record)))
            else:
                kept += 1
            yield found
    except (DamagedError, ExpansionError, NeedsMoreError, pl.exceptions.PolarsError) as error:
        raise PedigreeError(f"{printable(path)}: can't be read: {error}; fetch it again") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not reasons and not kept:
        raise PedigreeError(
            f"{printable(path)}: source {source.name!r}: has no record; fetch it again, or take it out of the source"
        )
    if not kept:
        told = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common(5))
        raise PedigreeError(
            f"{printable(path)}: source {source.name!r}: none of its {reasons.total()} records is a conversation: "
            f"{told}; the records have the keys {', '.join(map(_named, islice(keys, KEYS_NAMED))) or 'none'}. Name "
            "the right fields in the source, or take the file out of it"
        )


def _records(path: Path, source: RecordSource) -> Iterator[tuple[int, dict[str, Any] | Dropped]]:
    """(number, record) of every record, or why it can't be read."""
    if format_of(path) in PARQUET:
        row = 0
        for batch in pl.scan_parquet(path, glob=False, hive_partitioning=False).collect_batches(
            chunk_size=1000, maintain_order=True
        ):
            for record in batch.iter_rows(named=True):
                yield row, record
                row += 1
        return
    with open_stream(path) as stream:
        begun = False
        for row, (line, whole) in enumerate(read_lines(stream, source.max_record_bytes)):
            line = line.removeprefix(BYTE_ORDER_MARK)
            if not line or line.isspace():
                continue
            if not begun and source.syntax == "json":
                check_lines(path, line)
            begun = True
            found = _object(line, source.syntax) if whole else TOO_LONG
            yield row, Dropped(row, found, excerpt(line)) if isinstance(found, str) else found


def _object(line: bytes, syntax: Syntax) -> dict[str, Any] | str:
    """The record, or why there is none."""
    try:
        text = line.decode("utf-8").strip()
    except UnicodeDecodeError:
        return "not UTF-8"
    try:
        value = json.loads(text) if syntax == "json" else ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        if syntax == "python":
            return "not a Python literal"
        return "not JSON (it looks like Python's form: syntax: python reads that)" if text[:2] == "{'" else "not JSON"
    return value if isinstance(value, dict) else "not an object"


def _beginnings(speakers: Mapping[str, Any]) -> re.Pattern[str]:
    """What matches the beginning of a speaker's line. A speaker with another number matches, too."""
    names = sorted(speakers, key=len, reverse=True)
    return re.compile("|".join(r"[0-9]+".join(map(re.escape, re.split("[0-9]+", name))) for name in names) or "(?!)")


def _exchange(prompt: str | None, answer: str | None, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    assert prompt is not None
    assert answer is not None
    return [
        {"role": "user", "content": _filled(prompt, record)},
        {"role": "assistant", "content": _filled(answer, record)},
    ]


def _filled(template: str, record: Mapping[str, Any]) -> str:
    """The template with the record's fields. Text without a brace is no template."""
    if "{" not in template and "}" not in template:
        return template
    parsed = parsed_template(template)
    return parsed.filled([_text_at(record, field) for field in parsed.fields])


def _text_at(record: Mapping[str, Any], field: str) -> str:
    value = value_at(record, field)
    if value is ABSENT or value is None:
        raise ConversationError(f"no field {field}", "")
    # ``isfinite`` makes a whole number to a float, for which it may be too large.
    number = isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))
    if isinstance(value, bool) or (not number and not isinstance(value, str)):
        raise ConversationError(f"{field} is neither text nor a number", "")
    return str(value)


def _shown(record: Mapping[str, Any]) -> str:
    try:
        return excerpt(repr(record))
    except RecursionError:  # JSON may be nested deeper than ``repr`` goes
        return excerpt(", ".join(keys_of(record)))


def _named(key: str) -> str:
    """The beginning of a key as it can be printed anywhere: halves of surrogate pairs as escapes."""
    return key[:EXCERPT_CHARACTERS].encode("utf-8", errors="backslashreplace").decode("utf-8")
