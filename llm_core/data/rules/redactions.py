"""What is taken out of texts: each is a function from a column of texts to the column without it, and counts.

A cheap test finds the texts that can hold something at all; only these are searched. Digits and the borders of words
are ASCII's: the borders of Unicode words take polars' regular expressions fifty times as long.
"""

import re
from collections.abc import Callable

import polars as pl

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.dotted import dotted

# Fixed, and reserved for examples: RFC 2606, RFC 5737, and the North American Numbering Plan's fictitious numbers.
EMAIL = "email@example.com"
IP = "192.0.2.1"
PHONE = "555-0100"

# Citations as C4's code removes them (Raffel et al., 2020).
_CITATION = r"\[[0-9]*\]|\[edit\]|\[citation needed\]"
_EMAIL = (
    r"[A-Za-z0-9][A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,24}(?-u:\b)"
)
# Groups of digits with signs between them: North American (as Soldaini et al., 2024), or with a country's code.
_PHONE = (
    r"(^|[^\w.+-])(?:\+?1[-. ]?)?(?:\([0-9]{3}\)[-. ]?|[0-9]{3}[-. ])[0-9]{3}[-. ][0-9]{4}(?-u:\b)"
    r"|(^|[^\w.+-])\+[1-9][0-9]{0,2}(?:[-. ]?\(?[0-9]{1,4}\)?){2,4}[-. ][0-9]{2,4}(?-u:\b)"
)
_PHONE_END = r"[0-9][-. ][0-9]{2,4}(?-u:\b)"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_ADDRESS = re.compile(rf"(?<![\w.])(?:{_BYTE}\.){{3}}{_BYTE}(?!\w|\.\w)", re.ASCII)

# IANA's special-purpose addresses, multicast and the reserved class: (first address, bits that count).
_NOT_PUBLIC = (
    ("0.0.0.0", 8),  # noqa: S104 (a network, not an address to listen on)
    ("10.0.0.0", 8),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("172.16.0.0", 12),
    ("192.0.0.0", 24),
    ("192.0.2.0", 24),
    ("192.168.0.0", 16),
    ("198.18.0.0", 15),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("224.0.0.0", 3),
)

Redacted = tuple[pl.Series, pl.Series]
"""(the column after it, how many pieces were taken out of each text)"""


def citations(column: pl.Series) -> Redacted:
    """``[1]``, ``[edit]`` and ``[citation needed]`` go."""
    return _replaced(column, column.str.contains("[", literal=True), _CITATION, "")


def emails(column: pl.Series) -> Redacted:
    """E-mail addresses become ``EMAIL``."""
    return _replaced(column, column.str.contains("@", literal=True), _EMAIL, EMAIL)


def phones(column: pl.Series) -> Redacted:
    """Telephone numbers become ``PHONE``."""
    return _replaced(column, column.str.contains(_PHONE_END), _PHONE, "${1}${2}" + PHONE)


def public_ips(column: pl.Series) -> Redacted:
    """IPv4 addresses become ``IP``, but for private and other special ones, which tell nothing about a person."""
    return _addresses(column, _is_public)


def ips(column: pl.Series) -> Redacted:
    """All IPv4 addresses become ``IP``."""
    return _addresses(column, lambda _: True)


def _replaced(column: pl.Series, possible: pl.Series, pattern: str, replacement: str) -> Redacted:
    found = column.filter(possible)
    return _with(
        column,
        possible.arg_true(),
        found.str.replace_all(pattern, replacement),
        found.str.count_matches(pattern),
    )


def _addresses(column: pl.Series, wanted: Callable[[str], bool]) -> Redacted:
    places = pl.Series(dotted(to_texts(column), 4)).arg_true()
    texts, counts = [], []
    for text in column.gather(places):
        found = [match[0] for match in _ADDRESS.finditer(text) if wanted(match[0])]
        texts.append(_ADDRESS.sub(lambda match: IP if wanted(match[0]) else match[0], text) if found else text)
        counts.append(len(found))
    return _with(column, places, pl.Series(texts, dtype=pl.String), pl.Series(counts, dtype=pl.UInt32))


def _with(column: pl.Series, places: pl.Series, texts: pl.Series, counts: pl.Series) -> Redacted:
    """``column`` with ``texts`` at ``places``; 0 where nothing was searched."""
    nothing = pl.zeros(len(column), dtype=pl.UInt32, eager=True)
    return column.clone().scatter(places, texts), nothing.scatter(places, counts)


def _is_public(address: str) -> bool:
    number = _number(address)
    return not any(number >> (32 - bits) == _number(first) >> (32 - bits) for first, bits in _NOT_PUBLIC)


def _number(address: str) -> int:
    return int.from_bytes(map(int, address.split(".")))
