"""The steps of ``tokenizer.json`` before merging: those that normalise a text, and those that cut it into pieces.

A step that is not known here is an error, because ids could differ from those of the file's own tokenizer.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers

from llm_core.errors import PedigreeError
from llm_core.tokens.patterns import O200K, PATTERNS

_COVERING = (*PATTERNS.values(), O200K)
"""Regular expressions whose matches cover every text completely."""

_ASCII, _MARK = "".join(map(chr, range(128))), "\ue000"


@dataclass(frozen=True)
class Digits:
    """Makes numbers pieces of their own: each digit if ``single``, otherwise each run of digits."""

    single: bool


def normal_form(path: Path, written: Any) -> tuple[str, ...]:
    """The steps of a file's normaliser that change texts, each as JSON, unchanged.

    Raises ``PedigreeError`` for a step that is not known, and for a replacement that matches the empty string.
    """
    return tuple(json.dumps(step, sort_keys=True) for step in _steps(written, "normalizers") if _changes(path, step))


def _changes(path: Path, step: Any) -> bool:
    match step:
        case {"type": "NFC" | "NFKC" | "Lowercase"}:
            return True
        case {"type": "Replace", "pattern": {"Regex": str()} | {"String": str()}, "content": str(new)}:
            _refuse_insertion(path, step)
            return bool(step["pattern"].get("String") != new)
        case {"type": "Strip", "strip_left": False, "strip_right": False}:
            return False
    raise PedigreeError(
        f"{path}: has 'normalizer' set to {str(step)[:80]}; of normalisers only NFC, NFKC, Lowercase and Replace can "
        "be imported. Let the experiment's cleaning do it, and take it out of the file"
    )


def _refuse_insertion(path: Path, step: Mapping[str, Any]) -> None:
    """Raise for a replacement that matches the empty string: on some texts it makes the library end the process."""
    try:
        marking = as_normalizer([{**step, "content": _MARK}])
    except Exception as error:  # the library raises nothing narrower
        raise PedigreeError(f"{path}: has 'normalizer' set to {str(step)[:80]}: {error}") from None
    for one in _ASCII:
        found = marking.normalize_str(one)
        if found.count(_MARK) > (one not in found):
            raise PedigreeError(
                f"{path}: has 'normalizer' set to {str(step)[:80]}, which also matches where there is no character; "
                "let its pattern match one character or more"
            )


def as_normalizer(steps: Sequence[Mapping[str, Any]]) -> normalizers.Normalizer:
    """The library's normaliser of several steps."""
    written = json.loads(Tokenizer(models.BPE()).to_str())
    written["normalizer"] = {"type": "Sequence", "normalizers": [*steps]}
    return Tokenizer.from_str(json.dumps(written)).normalizer


def cuts(path: Path, written: Any) -> list[Any]:
    """The steps that cut text. Each cuts the pieces of the step before it; the last one is a regular expression.

    Raises ``PedigreeError`` for another kind of pre-tokenizer, and for one whose last step is not ``ByteLevel``.
    """
    *before, last = list(_steps(written, "pretokenizers")) or [None]
    found = [_cut(path, step) for step in before]
    match last:
        case {"type": "ByteLevel", "add_prefix_space": False}:
            if last.get("use_regex", True):
                found.append(PATTERNS["gpt2"])
        case _:
            raise PedigreeError(
                f"{path}: this tokenizer cuts text by something else than byte-level BPE: {str(last)[:150]}"
            )
    if not found or not isinstance(found[-1], str):
        raise PedigreeError(
            f"{path}: this tokenizer cuts text by something else than regular expressions: {str(written)[:150]}"
        )
    return found


def _cut(path: Path, step: Any) -> str | Digits:
    match step:
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Isolated"}:
            return pattern  # "invert" changes nothing: both the matches and the text between them are pieces
        case {"type": "Split", "pattern": {"Regex": str(pattern)}, "behavior": "Removed", "invert": True}:
            if pattern in _COVERING:
                return pattern
            raise PedigreeError(
                f"{path}: removes from texts what {pattern!r} does not match; if it matches everything, write "
                "'Isolated' instead of 'Removed', and 'invert': false"
            )
        case {"type": "Digits", "individual_digits": bool(single)}:
            return Digits(single)
    raise PedigreeError(f"{path}: cuts text by other means than regular expressions: {str(step)[:200]}")


def _steps(written: Any, name: str) -> Iterator[Any]:
    """The steps of a sequence and of the sequences inside it; or the single step."""
    if isinstance(written, dict) and written.get("type") == "Sequence":
        for step in written.get(name) or []:
            yield from _steps(step, name)
    elif written is not None:
        yield written
