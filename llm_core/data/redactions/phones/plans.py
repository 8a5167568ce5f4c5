"""The numbering plans of the library ``phonenumbers``: which numbers are valid, and how they are written."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import phonenumbers
from phonenumbers.data import _ALT_NUMBER_FORMATS

_NORTH_AMERICA = 1
_LONGEST_GROUP = 8
# A group of digits in one of the library's patterns: ``(\\d)``, ``(\\d{3})``, ``(\\d{3,4})``.
_SIZES = re.compile(r"\(\\d(?:\{(\d+)(?:,(\d+))?\})?\)")


def plans_of(regions: tuple[str, ...]) -> tuple[str, ...]:
    """The first of the ``regions`` for each country code: +1 is one numbering plan."""
    firsts = {phonenumbers.country_code_for_region(region): region for region in reversed(regions)}
    return tuple(reversed(firsts.values()))


def is_valid(digits: str) -> bool:
    """Whether ``digits``, which start with ``+`` and the country code, are a valid number."""
    return _valid(digits, None) is not None


@dataclass(frozen=True)
class _Number:
    """A valid number, as its region writes it."""

    significant: str
    prefix: str
    prefix_needed: bool
    ends: frozenset[tuple[int, ...]]
    """Where the groups of ``significant`` end, for each way of writing it."""
    brackets: bool


@lru_cache(maxsize=1 << 14)
def _valid(digits: str, region: str | None) -> Any:
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return None
    return number if phonenumbers.is_valid_number(number) else None


def _metadata(region: str) -> Any:
    return phonenumbers.PhoneMetadata.metadata_for_region(region)


def _forms(region: str) -> tuple[Any, ...]:
    """The formats of numbers in ``region``: those that the library writes, then those that it only reads."""
    others = _ALT_NUMBER_FORMATS.get(phonenumbers.country_code_for_region(region), ())
    return (*_metadata(region).number_format, *others)


@lru_cache(maxsize=1 << 14)
def _number(digits: str, region: str) -> _Number | None:
    """The number that ``digits`` are in ``region``."""
    number = _valid(digits, region)
    if number is None:
        return None
    significant = phonenumbers.national_significant_number(number)
    if not digits.endswith(significant):
        return None
    usual_prefix = _metadata(region).national_prefix or ""
    prefix = digits[: len(digits) - len(significant)]
    if prefix not in ("", usual_prefix):
        return None
    ends: set[tuple[int, ...]] = set()
    needed = brackets = False
    for form in _forms(region):
        if any(not re.match(leading, significant) for leading in form.leading_digits_pattern[-1:]):
            continue
        match = re.fullmatch(form.pattern, significant)
        if match is None:
            continue
        if not ends:
            rule = form.national_prefix_formatting_rule or ""
            written = usual_prefix != "" and usual_prefix in re.sub(r"\$\w+", "", rule)
            needed = written and not form.national_prefix_optional_when_formatting
            brackets = "(" in rule + form.format
        ends.add(tuple(match.end(group) for group in range(1, (match.re.groups or 0) + 1)))
    return _Number(significant, prefix, needed, frozenset(ends), brackets)


@lru_cache(maxsize=1 << 12)
def is_shaped(sizes: tuple[int, ...], plans: tuple[str, ...]) -> bool:
    """Whether one of ``plans`` writes numbers in groups of these ``sizes``."""
    return any(
        len(shape) == len(part) and all(least <= size <= most for size, (least, most) in zip(part, shape, strict=True))
        for plan in plans
        for shape in _shapes(plan)
        for part in ((sizes, sizes[1:]) if sizes[0] == 1 else (sizes,))
    )


@lru_cache(maxsize=1 << 14)
def starts_shaped(sizes: tuple[int, ...], plans: tuple[str, ...]) -> bool:
    """Whether one of ``plans`` writes numbers in groups of the first of these ``sizes``."""
    return any(is_shaped(sizes[:count], plans) for count in range(2, len(sizes) + 1))


@lru_cache(maxsize=1 << 9)
def _shapes(region: str) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The least and the most digits of each group, for each format of ``region``."""
    shapes = set()
    for form in _forms(region):
        sizes = _SIZES.findall(form.pattern)
        shapes.add(tuple((int(least or 1), int(most or least or 1)) for least, most in sizes))
    return tuple(sorted(shapes))


@lru_cache(maxsize=1 << 14)
def is_national(groups: tuple[str, ...], region: str, opened: bool, announced: bool, signs: bool) -> bool:
    """Whether ``groups`` are a number of ``region``, written as people write it there.

    ``opened``: the first group is in brackets. ``announced``: a word says that it is a telephone number, so all formats
    count. ``signs``: there are hyphens, dots, slashes or brackets between all groups.
    """
    if max(map(len, groups)) > _LONGEST_GROUP and not announced:
        return False
    number = _number("".join(groups), region)
    if number is None or (number.prefix_needed and not number.prefix):
        return False
    skipped, ends, at = len(number.prefix), [], 0
    for group in groups:
        at += len(group)
        if at > skipped:
            ends.append(at - skipped)
    if announced:
        return len(groups) == 1 or all(len(group) > 1 for group in groups[1:])
    if len(ends) < 2:
        return False
    written = tuple(ends)
    if opened and not number.prefix and not any(written[0] == usual[0] for usual in number.ends):
        return False
    if opened or number.prefix.startswith("0") or number.significant.startswith("0"):
        return any(set(written) <= set(usual) for usual in number.ends)
    if number.brackets and phonenumbers.country_code_for_region(region) != _NORTH_AMERICA and not signs:
        return False
    same = len({len(group) for group in groups}) == 1  # like groups of thousands, or of a card number
    return written in number.ends and len(groups) > 2 and not (same and not signs)
