"""Reads eval suites from files: their items, and the texts that no training document should contain."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from xxhash import xxh3_128_hexdigest

from llm_core.data.sources.streams import open_stream, read_lines
from llm_core.data.sources.unpacking import DamagedError, ExpansionError, NeedsMoreError
from llm_core.errors import PedigreeError
from llm_core.experiment.suites import (
    GenerativeSuite,
    InstructionsSuite,
    LastWordSuite,
    MinimalPairsSuite,
    MultipleChoiceSuite,
    SuiteSpec,
)
from llm_core.store.digests import source_digest

LONGEST_LINE = 1 << 24
MOST_LETTERED = 26
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


class Rule(NamedTuple):
    """A rule that an answer must keep, by its name in ``INSTRUCTION_RULES``, and its arguments."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Item:
    """One item, its texts as the file has them.

    ``item_id``: its line in the file, counted from 1. ``choices``: the sentences of a pair, the answers to a question,
    the one last word, the right answers, or the one document; ``choices[gold]`` is the right one. ``context``: the text
    before them. ``rules``: those that an answer must keep; such an item has no choices.
    """

    item_id: str
    group: str
    context: str
    choices: tuple[str, ...]
    gold: int
    rules: tuple[Rule, ...] = ()


def suite_digests(suites: Sequence[SuiteSpec]) -> dict[str, str]:
    """``suite <name>`` → digest of its file.

    The plan calls this. So a missing or wrong file is an error before any document is read.
    """
    digests = {f"suite {suite.name}": _readable(suite) for suite in suites}
    for suite, digest in zip(suites, digests.values(), strict=True):
        _check(suite, digest)
    for suite in suites:
        if (solved := solved_suite(suite)) is not None:
            digests[f"suite {suite.name}: shots"] = _readable(solved)
    return digests


def solved_suite(suite: SuiteSpec) -> SuiteSpec | None:
    """The suite of the solved items, where they have a file of their own."""
    shots = suite.shots if isinstance(suite, MultipleChoiceSuite) else None
    return None if shots is None else suite.model_copy(update={"path": shots})


@lru_cache(maxsize=256)
def _check(suite: SuiteSpec, _digest: str) -> None:
    """Raise for a file with a line that is no item. The result is cached while the file does not change."""
    read_suite(suite)


def read_suite(suite: SuiteSpec) -> list[Item]:
    """All items of the file. Raises ``PedigreeError`` with file, line and field for a line that is no item."""
    return [item for item, _ in _keyed_items(suite)]


def sample_suite(suite: SuiteSpec) -> list[Item]:
    """At most ``max_items`` items, in the order of the file; equally many of every group that has enough.

    A hash of the line decides. So an item stays in the sample when others are appended.
    """
    keyed = _keyed_items(suite)
    items = [item for item, _ in keyed]
    if suite.max_items is None or len(items) <= suite.max_items:
        return items
    groups: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for place, (item, key) in enumerate(keyed):
        groups[item.group].append((key, place))
    ranked = [(rank, *member) for members in groups.values() for rank, member in enumerate(sorted(members))]
    return [items[place] for place in sorted(place for _, _, place in sorted(ranked)[: suite.max_items])]


def suite_texts(suite: SuiteSpec, items: Iterable[Item]) -> Iterator[tuple[str, str]]:
    """(item, text) for every text of ``items`` that a training document should not contain.

    These are both sentences of a pair; a passage with its last word; a document; a prompt; all ``renderings`` and
    choices of a question.
    """
    for item in items:
        texts = renderings(suite, item)
        for text in dict.fromkeys([*texts.values(), *item.choices]):
            yield item.item_id, text


_ASKED = re.compile(r"^\s*(?:question|q)\s*[:.]\s*|\s*\b(?:answer|a)\s*:\s*$", re.IGNORECASE)
"""Labels around a question that only a suite's file has."""


def renderings(suite: SuiteSpec, item: Item) -> dict[str, str]:
    """The forms in which a document may contain an item: ``answered`` (as it is scored, with the right answer),
    ``question`` (the text before the answer), ``quiz`` (with all choices, lettered), ``numbered`` and ``list`` (the
    same with numbers, or with nothing before the choices).
    """
    if isinstance(suite, InstructionsSuite):
        return {"question": item.context}
    if not isinstance(suite, MultipleChoiceSuite | LastWordSuite | GenerativeSuite):
        return {"answered": item.choices[item.gold]}
    if isinstance(suite, LastWordSuite | GenerativeSuite):
        return {"answered": f"{item.context}{suite.delimiter}{item.choices[item.gold]}", "question": item.context}
    question = _ASKED.sub("", item.context) or item.context
    lettered = (f"{chr(ord('A') + place)}. {choice}" for place, choice in enumerate(item.choices))
    numbered = (f"{number}. {choice}" for number, choice in enumerate(item.choices, start=1))
    return {
        "answered": f"{question}{suite.delimiter}{item.choices[item.gold]}",
        "question": question,
        "quiz": "\n".join([question, *lettered]),
        "numbered": "\n".join([question, *numbered]),
        "list": "\n".join([question, *item.choices]),
    }


def _readable(suite: SuiteSpec) -> str:
    path = Path(suite.path).expanduser()
    if not path.name.endswith(SUFFIXES):
        raise PedigreeError(f"{path}: suite {suite.name!r} is no {', '.join(SUFFIXES)} file; give the path of one")
    try:
        if not path.is_file():
            raise PedigreeError(
                f"suite {suite.name!r}: there is no file {path}; mend evaluation.suites, or add the file"
            )
        return source_digest(path)
    except OSError as error:
        raise PedigreeError(f"{path}: can't be read: {error.strerror or error}") from None


def _keyed_items(suite: SuiteSpec) -> list[tuple[Item, str]]:
    """(item, a hash of its line) in the order of the file; at least one."""
    path = Path(suite.path).expanduser()
    _readable(suite)
    found = []
    try:
        with open_stream(path) as stream:
            for number, (line, whole) in enumerate(read_lines(stream, LONGEST_LINE), start=1):
                if not whole:
                    raise PedigreeError(
                        f"{path}: line {number} is longer than {LONGEST_LINE} bytes; is it one JSON object?"
                    )
                if line.strip():
                    found.append((_item(suite, _Record(path, number, line)), xxh3_128_hexdigest(line)))
    except DamagedError as error:
        raise PedigreeError(f"{path}: damaged at byte {error.position}: {error}; fetch the file again") from None
    except ExpansionError as error:
        raise PedigreeError(
            f"{path}: {error}, which is too much for a suite; fetch the file again, or unpack it"
        ) from None
    except NeedsMoreError as error:
        raise PedigreeError(f"{path}: {error}") from None
    except OSError as error:
        raise PedigreeError(f"{path}: can't be read: {error.strerror or error}") from None
    if not found:
        raise PedigreeError(f"{path}: has no item; fetch the file again, or take {suite.name!r} out of the suites")
    return found


class _Record:
    """One line as an object with typed access to its fields."""

    def __init__(self, path: Path, number: int, line: bytes) -> None:
        self._where = f"{path}: line {number}"
        self.item_id = str(number)
        try:
            value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as error:
            raise PedigreeError(
                f"{self._where}: not UTF-8: {error.reason} at byte {error.start}; convert the file"
            ) from None
        except (ValueError, RecursionError) as error:
            raise PedigreeError(f"{self._where}: not JSON: {error}") from None
        if not isinstance(value, dict):
            raise PedigreeError(f"{self._where}: not an object but {type(value).__name__}")
        self._fields: Mapping[str, Any] = value

    def text(self, field: str) -> str:
        """A text of one character or more."""
        return self._checked(field, self._field(field))

    def texts(self, field: str, most: int | None = None) -> tuple[str, ...]:
        """A list of at least two texts, and of ``most`` at most."""
        value = self._field(field)
        if most is not None and isinstance(value, list) and len(value) > most:
            raise self._wrong(field, f"has {len(value)} choices, and there are letters for {most}", value)
        if not isinstance(value, list) or len(value) < 2:
            raise self._wrong(field, "should be a list of two texts or more", value)
        return tuple(self._checked(f"{field}[{place}]", text) for place, text in enumerate(value))

    def text_or_texts(self, field: str) -> tuple[str, ...]:
        """A text, or a list of one text or more."""
        value = self._field(field)
        if not isinstance(value, list):
            return (self.text(field),)
        if not value:
            raise self._wrong(field, "should be a text or a list of texts", value)
        return tuple(self._checked(f"{field}[{place}]", text) for place, text in enumerate(value))

    def place(self, field: str, count: int) -> int:
        """A number from 0, below ``count``."""
        value = self._field(field)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < count:
            raise self._wrong(field, f"should be a number from 0 to {count - 1}", value)
        return value

    def rules(self, suite: InstructionsSuite) -> tuple[Rule, ...]:
        """Rules with their arguments; at least one."""
        named = self._field(suite.rules)
        if not isinstance(named, list) or not named:
            raise self._wrong(suite.rules, "should be a list of rules", named)
        if suite.arguments is None:
            given = [rule if isinstance(rule, dict) else {"rule": rule} for rule in named]
            named = [rule.get("rule") for rule in given]
            given = [{name: value for name, value in rule.items() if name != "rule"} for rule in given]
        else:
            given = self._field(suite.arguments)
            if not isinstance(given, list) or len(given) != len(named):
                raise self._wrong(
                    suite.arguments, f"should be a list with an object for each of {len(named)} rules", given
                )
        for place, (name, arguments) in enumerate(zip(named, given, strict=True)):
            if name not in suite.known_rules:
                known = ", ".join(suite.known_rules)
                what = f"names no rule; known: {known}; those of a plug-in must be in more_rules of the suite"
                raise self._wrong(f"{suite.rules}[{place}]", what, name)
            if not isinstance(arguments, dict):
                raise self._wrong(f"{suite.arguments}[{place}]", "should be an object", arguments)
        return tuple(
            Rule(name, {key: value for key, value in arguments.items() if value is not None})
            for name, arguments in zip(named, given, strict=True)
        )

    def _field(self, field: str) -> Any:
        if field not in self._fields:
            raise PedigreeError(
                f"{self._where}: there is no field {field!r}, only {', '.join(map(repr, self._fields))}; "
                "name the fields in evaluation.suites"
            )
        return self._fields[field]

    def _checked(self, field: str, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(field, "should be a text", value)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise self._wrong(field, "has a lone surrogate", value) from None
        return value

    def _wrong(self, field: str, what: str, value: Any) -> PedigreeError:
        return PedigreeError(f"{self._where}: the field {field!r} {what} (it is {ascii(value)[:80]})")


def _item(suite: SuiteSpec, record: _Record) -> Item:
    if isinstance(suite, MinimalPairsSuite):
        group = record.text(suite.group) if suite.group is not None else ""
        return Item(record.item_id, group, "", (record.text(suite.good), record.text(suite.bad)), 0)
    if isinstance(suite, MultipleChoiceSuite):
        query = record.text(suite.query)
        if isinstance(suite.choices, str):
            choices = record.texts(suite.choices, most=MOST_LETTERED if suite.lettered else None)
            return Item(record.item_id, "", query, choices, record.place(suite.gold, len(choices)))
        choices = tuple(record.text(field) for field in suite.choices)
        return Item(record.item_id, "", query, choices, suite.choices.index(suite.gold))
    if isinstance(suite, LastWordSuite):
        return Item(record.item_id, "", record.text(suite.context), (record.text(suite.continuation),), 0)
    if isinstance(suite, InstructionsSuite):
        return Item(record.item_id, "", record.text(suite.prompt), (), 0, record.rules(suite))
    if isinstance(suite, GenerativeSuite):
        return Item(record.item_id, "", record.text(suite.prompt), record.text_or_texts(suite.answer), 0)
    return Item(record.item_id, "", "", (record.text(suite.text),), 0)
