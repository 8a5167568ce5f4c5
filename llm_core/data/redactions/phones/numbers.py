"""Finds telephone numbers in texts. Candidates are found here; the library ``phonenumbers`` judges them (``plans``).

A number with its country code (``+44 20 7946 0958``) counts if it is valid. A number in national form counts if it is
valid in one of the regions and written as people write it there. The text around decides, too: after a word such as
"tel", any valid number counts; after one such as "ISBN" or "page", none does.
"""

import re
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import polars as pl

from llm_core.data.kernels.buffers import Texts, to_texts
from llm_core.data.kernels.runs import digit_runs
from llm_core.data.redactions.cutting import Redacted, cut
from llm_core.data.redactions.phones.plans import is_national, is_shaped, is_valid, plans_of, starts_shaped

PHONE = "555-0100"
"""Reserved by the North American Numbering Plan for fictitious numbers."""

Span = tuple[int, int, int]
"""(number of the text, first byte in it, byte after the last one)"""

_CONTEXT = 48  # bytes that are read before a number
_MOST_GROUPS = 7
_MOST_DIGITS = 15  # E.164
_LEAST_DIGITS, _MOST_NATIONAL = 7, 13
_PREFIXES = ("0", "1", "8")  # for calls within a country; the next group may be in brackets
_GROUPS = re.compile(r"[0-9]+")

# Words before a telephone number. A single letter needs its colon (``T: 030 …``): ``p.`` is a page.
_ANNOUNCED = re.compile(
    r"(?:(?<![^\W_])(?:tele?(?:ph(?:one)?|fono|fon|foon|fax|fone)?s?|t[eé]l(?:[eé]phone)?s?|teléfonos?|phones?|ph|fax"
    r"|(?:auto)?mobiles?|mob|m[oó]vil|cell(?:phone|ular)?|cel(?:ular)?|handy|call|dial|hotline|helpline|whats\s?app"
    r"|sms|text\s(?:me|us)|toll[- ]free|contacts?|rufnummer|durchwahl|ruf|fon|tlf|tfno|tfn|telefonnummer|portable"
    r"|cellulare|komórka|mobil|mobiel|reach)(?![^\W_])|(?<![^\W_])(?:[tpfm]:|t\.)(?=\s{0,3}\Z)|电话|電話|手机|☎|☏|📞|📱|✆)"
    r"[^0-9\n]{0,20}\n?\Z",
    re.IGNORECASE,
)
# Words before a number of another kind.
_OTHER = re.compile(
    r"(?:(?<![^\W_])(?:isbn(?:[- ]?1[03])?|issn|doi|oclc|lccn|asin|ean|upc|gtin|iban|isrc|pmid|arxiv|orcid|pages?|pp|p"
    r"|tables?|tab|figures?|fig|versions?|ver|v|orders?|invoices?|ref(?:erence)?|serial|s/n|part|item|sku|models?|id"
    r"|case|accounts?|acct|cards?|visa|mastercard|patents?|tickets?|grants?|sections?|sec|chapters?|vol|volumes?"
    r"|issues?|articles?|art|rows?|columns?|equations?|eq|bugs?|tracking|registration|reg|licen[cs]e|tax|vat"
    r"|ein|ssn|passport|lot|batch|catalog(?:ue)?|cat|dates?|years?|score|scores|seed|bestellnummer|seiten?|tabelle"
    r"|rechnung|nummer|commande|facture|pedido|usd|eur|gbp|chf|aud|cad|inr|rs|dollars?|euros?|factura|página|páginas)(?![^\W_])"
    r"[\s.:#(-]{0,4}(?:(?:no|nos|nr|num|numbers?|id|code|n°|nº)?[\s.:#(-]{0,4})|[$€£¥₹§№#%°×]\s?)\Z",
    re.IGNORECASE,
)
_LINKED = re.compile(r"[^0-9\n\w]{0,6}(?:or|and|oder|und|ou|et|o|y|e|fax|tel|also)?[^0-9\n\w]{0,6}", re.IGNORECASE)
_GLUED_BEFORE = re.compile(r"[.,+@'’&\\/=_-]\Z|(?![\u0e00-\U0010ffff])\w\Z")
# Between two groups of one number: one sign, with spaces around it, or a bracket.
_GAP = re.compile(r" ?[-‐‑‒–./]? ?|-? ?\(|\) ?[-‐‑‒–./]? ?")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?!$)|$)){4}")
_GLUED_AFTER = re.compile(r"^(?:[%°@_$€£]|\w|[-,:.][0-9]|[-/=][^\W_]|\s?(?:percent|%|°|€|\$|km|kg|mm|cm)(?!\w))")


class _Group(NamedTuple):
    """One group of digits: its place in the run, in bytes, and the signs before it."""

    digits: str
    start: int
    stop: int
    gap: str


def phones(column: pl.Series, regions: tuple[str, ...]) -> Redacted:
    """Replace telephone numbers by ``PHONE``: those with a country code, and those in national form of ``regions``."""
    return cut(column, ((*span, PHONE) for span in phone_spans(to_texts(column), regions)))


def phone_spans(texts: Texts, regions: tuple[str, ...]) -> Iterator[Span]:
    """The telephone numbers in ``texts``, in order; those in national form by the rules of ``regions``.

    The time is linear in the size of the texts.
    """
    plans = plans_of(regions)
    whole, offsets = texts.data.tobytes(), texts.offsets
    last: Span = (-1, 0, 0)
    for text, start, stop in digit_runs(texts).tolist():
        origin = int(offsets[text])
        before = whole[max(origin, start - _CONTEXT) : start].decode(errors="ignore")
        after = whole[stop : min(int(offsets[text + 1]), stop + 16)].decode(errors="ignore")
        linked = last[0] == text and start - last[2] <= 16 and _LINKED.fullmatch(whole[last[2] : start].decode())
        run = _Run(whole[start:stop].decode(), before, after, bool(linked), plans)
        for first, end in run.numbers():
            last = (text, start + first, start + end)
            yield text, start + first - origin, start + end - origin


class _Run:
    """A run of groups of digits, and the text around it."""

    def __init__(self, run: str, before: str, after: str, linked: bool, plans: tuple[str, ...]) -> None:
        self._plans = plans
        self._before, self._linked = before, linked
        self._glued_after = bool(_GLUED_AFTER.match(after))
        self._plus = 0  # bytes of the sign before the first group
        sign = re.search(r"(?<![\w+])([(\[]?)\+[ (]?\Z", before)
        if sign:
            closed = ")" in run or not sign[1]
            self._plus = len(before) - (sign.start() if closed else sign.end(1))
        self._bracket = before.endswith("(") and not sign
        self._groups: list[_Group] = []
        ended, size = 0, 0
        for match in _GROUPS.finditer(run):
            gap = run[ended : match.start()]
            size += len(gap.encode())
            self._groups.append(_Group(match[0], size, size + len(match[0]), gap.replace("\u00a0", " ")))
            size, ended = size + len(match[0]), match.end()

    def numbers(self) -> Iterator[tuple[int, int]]:
        """(first byte, byte after the last one) of each number, counted from the run's start."""
        at, hit = 0, False
        if self._plus:
            at = self._international("+", 0)
            if at:
                yield -self._plus, self._groups[at - 1].stop
                hit = True
            elif len(self._groups) == 1:
                return
            else:
                at = 1
        sizes = [len(group.digits) for group in self._groups]
        while at < len(self._groups):
            if not hit and at > 0 and not self._may_start(at, sizes):
                at += 1
                continue
            count = self._national(at, hit)
            if count:
                yield self._groups[at].start - self._opened(at), self._groups[at + count - 1].stop
                hit = True
            at += count or 1

    def _may_start(self, at: int, sizes: list[int]) -> bool:
        """Whether a number inside the run may start with group ``at``; a cheap test."""
        if self._opened(at):
            return True
        gaps = [group.gap for group in self._groups[at : at + 2]]
        if len(gaps) < 2 or (gaps[0].isspace() and gaps[1].isspace()):
            return False  # one of the numbers of a table
        first = self._groups[at].digits
        return first[0] == "0" or starts_shaped(tuple(sizes[at : at + _MOST_GROUPS]), self._plans)

    def _international(self, sign: str, at: int) -> int:
        """The number of groups from ``at`` that are a valid number with its country code; 0 for none."""
        groups = [group.digits for group in self._window(at)]
        for count in range(len(groups), 0, -1):
            digits = sign + "".join(groups[:count])
            if 8 <= len(digits) <= _MOST_DIGITS + 1 and self._ends(at + count, False) and is_valid(digits):
                return count
        return 0

    def _window(self, at: int) -> list[_Group]:
        """The groups that a number from ``at`` on may have."""
        groups = self._groups[at : at + 1]
        for group in self._groups[at + 1 : at + _MOST_GROUPS]:
            if not _GAP.fullmatch(group.gap):
                break
            groups.append(group)
        return groups

    def _national(self, at: int, hit: bool) -> int:
        """The number of groups from ``at`` that are a number in national form; 0 for none."""
        window = self._window(at)
        sizes = [len(group.digits) for group in window]
        if sum(sizes) < _LEAST_DIGITS or (at == 0 and self._glued_before):
            return 0
        opened, first = self._opened(at), window[0].digits
        if (
            first.startswith(("00", "011"))
            and self._starts(at, False, hit)
            and (len(first) > 3 or (window[1:2] and window[1].gap in (" ", "-", " (")))
            and (len(window) > 1 or self._is_announced(at, hit))
        ):
            count = self._abroad(at, window)
            if count:
                return count
        announced = self._is_announced(at, hit)
        leading = opened or (first[0] == "0" and len(first) > 1)
        for count in range(len(window), 0 if announced else 1, -1):
            if not announced and not leading and not is_shaped(tuple(sizes[:count]), self._plans):
                continue
            groups = tuple(group.digits for group in window[:count])
            gaps = tuple(group.gap for group in window[1:count])
            if not _LEAST_DIGITS <= sum(sizes[:count]) <= _MOST_NATIONAL or _is_date(groups, gaps):
                continue
            if any("(" in gap for gap in gaps[first in _PREFIXES :]) or (not announced and not _is_usual(groups, gaps)):
                continue
            spaced = not announced and not opened and any(gap.isspace() for gap in gaps)
            if not self._starts(at, spaced, hit) or not self._ends(at + count, spaced):
                continue
            signs = not any(gap.isspace() for gap in gaps)
            if any(is_national(groups, plan, opened, announced, signs) for plan in self._plans):
                return count if announced or at > 0 or not self._announces_other else 0
        if len(window) > 1 and first[0] != "0" and at == 0 and announced:
            return self._international("+", at)
        return 0

    def _is_announced(self, at: int, hit: bool) -> bool:
        """Whether a word announces a telephone number here, or another number is right before."""
        return hit or (at == 0 and (self._linked or self._announced))

    def _opened(self, at: int) -> bool:
        """Whether group ``at`` is in brackets, alone or with the next one: ``(020) 7946 0958``."""
        opened = self._bracket if at == 0 else self._groups[at].gap.endswith("(")
        return opened and any(")" in group.gap for group in self._groups[at + 1 : at + 3])

    def _abroad(self, at: int, window: list[_Group]) -> int:
        prefix = 2 if window[0].digits.startswith("00") else 3
        for count in range(len(window), 0, -1):
            digits = "".join(group.digits for group in window[:count])[prefix:]
            if 8 <= len(digits) <= _MOST_DIGITS and self._ends(at + count, False) and is_valid("+" + digits):
                return count
        return 0

    @cached_property
    def _announced(self) -> bool:
        """Whether a word before announces a number. A number in JSON is a count: telephone numbers are strings."""
        return _ANNOUNCED.search(self._before) is not None and not self._before.endswith('": ')

    @cached_property
    def _announces_other(self) -> bool:
        return _OTHER.search(self._before.rstrip("(")) is not None

    @cached_property
    def _glued_before(self) -> bool:
        return _GLUED_BEFORE.search(self._before.rstrip("(")[-1:]) is not None

    def _starts(self, at: int, spaced: bool, hit: bool) -> bool:
        """Whether a number may start with group ``at``. If it is ``spaced``, no other group may be right before it."""
        if at == 0:
            return True
        gap = self._groups[at].gap
        if gap.endswith("(") and gap != "(":
            return True
        return (
            (not gap.strip() and not spaced) or hit or (gap.startswith(" ") and gap.endswith(" ") and bool(gap.strip()))
        )

    def _ends(self, at: int, spaced: bool) -> bool:
        """Whether a number may end before group ``at``."""
        if at == len(self._groups):
            return not self._glued_after
        gap = self._groups[at].gap
        if gap.count(" ") > 1 or gap.startswith((" (", "/", " /")):
            return True
        return not gap.strip() and not spaced


def _is_date(groups: tuple[str, ...], gaps: tuple[str, ...]) -> bool:
    """Whether the first groups are a date (``2021-05-03``, ``03.05.2021``) or two years."""
    years = [len(group) == 4 and group[:2] in ("17", "18", "19", "20") for group in groups[:3]]
    if len(groups) == 2:
        return all(years)
    if len(groups) < 3 or gaps[0] != gaps[1]:
        return False
    sizes = [len(group) for group in groups[:3]]
    return (years[2] and max(sizes[:2]) <= 2) or (years[0] and max(sizes[1:]) <= 2)


def _is_usual(groups: tuple[str, ...], gaps: tuple[str, ...]) -> bool:
    """Whether the signs between ``groups`` are usual for a number that no word announces.

    A slash may only follow the area code (``030/1234567``). Two groups of four are an ISSN, four with dots an IP
    address; 998 999 1000 counts.
    """
    slashes = sum("/" in gap for gap in gaps)
    if slashes and (slashes > 1 or "/" not in gaps[0] or not (groups[0].startswith("0") or ")" in gaps[0])):
        return False
    if any("." in gap and " " in gap for gap in gaps) or (_IPV4.fullmatch(".".join(groups)) and set(gaps) == {"."}):
        return False
    counting = all(int(group) - int(before) == 1 for before, group in pairwise(groups))
    return not counting and [len(group) for group in groups] != [4, 4]
