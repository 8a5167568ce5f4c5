"""What is taken out of texts: each is a function from a column of texts to the column without it, and counts.

A cheap test finds where something can stand at all (an ``@``, a run of digits); only there is it judged.
"""

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

import polars as pl

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.rules.ip_addresses import Found, ip_addresses
from llm_core.data.rules.mail import mail_spans
from llm_core.experiment.cleaning import PHONE_REGIONS
from llm_core.extras import is_installed, missing

# Fixed, and reserved for examples: RFC 2606, RFC 5737, RFC 3849, and the North American Numbering Plan's fictitious
# numbers.
EMAIL = "email@example.com"
IP = "192.0.2.1"
IPV6 = "2001:db8::1"
PHONE = "555-0100"

# Citations as C4's code removes them (Raffel et al., 2020).
_CITATION = r"\[[0-9]*\]|\[edit\]|\[citation needed\]"

Redacted = tuple[pl.Series, pl.Series]
"""(the column after it, how many pieces were taken out of each text)"""


def citations(column: pl.Series) -> Redacted:
    """``[1]``, ``[edit]`` and ``[citation needed]`` go."""
    possible = column.str.contains("[", literal=True)
    found = column.filter(possible)
    return _with(column, possible.arg_true(), found.str.replace_all(_CITATION, ""), found.str.count_matches(_CITATION))


def emails(column: pl.Series) -> Redacted:
    """E-mail addresses become ``EMAIL``."""
    places = column.str.contains("@", literal=True).arg_true()
    texts, counts = [], []
    for text in column.gather(places):
        spans = list(mail_spans(text))
        kept = [0, *(end for span in spans for end in span), len(text)]
        texts.append(EMAIL.join(text[start:stop] for start, stop in zip(kept[::2], kept[1::2], strict=True)))
        counts.append(len(spans))
    return _with(column, places, pl.Series(texts, dtype=pl.String), pl.Series(counts, dtype=pl.UInt32))


def phones(column: pl.Series, regions: tuple[str, ...] = PHONE_REGIONS) -> Redacted:
    """Telephone numbers become ``PHONE``: those with a country's code, and those in national form of ``regions``.

    ``regions``: ISO 3166 codes. ``PedigreeError`` without the package ``phonenumbers``.
    """
    if not is_installed("phonenumbers"):
        raise missing("the redaction 'phones'", "phonenumbers", "web")
    from llm_core.data.rules.phones import phone_spans  # the package is an extra, and other redactions do without

    return _cut(column, ((*span, PHONE) for span in phone_spans(to_texts(column), regions)))


def public_ips(column: pl.Series) -> Redacted:
    """IPv4 addresses become ``IP``, IPv6 ones ``IPV6``, but for private and other special ones, which tell nothing
    about a person."""
    return _cut(column, (_replacement(found) for found in ip_addresses(to_texts(column)) if found.public))


def ips(column: pl.Series) -> Redacted:
    """All IPv4 addresses become ``IP``, all IPv6 ones ``IPV6``."""
    return _cut(column, map(_replacement, ip_addresses(to_texts(column))))


def _replacement(found: Found) -> tuple[int, int, int, str]:
    return found.text, found.start, found.stop, IP if found.version == 4 else IPV6


def _cut(column: pl.Series, pieces: Iterable[tuple[int, int, int, str]]) -> Redacted:
    """``pieces``, in their order: number of the text, first byte, byte after the last one, and what comes there."""
    places, texts, counts = [], [], []
    for place, group in groupby(pieces, key=itemgetter(0)):
        text, kept, done, count = column[place].encode(), [], 0, 0
        for _, start, stop, replacement in group:
            kept += [text[done:start], replacement.encode()]
            done, count = stop, count + 1
        places.append(place)
        texts.append(b"".join([*kept, text[done:]]).decode())
        counts.append(count)
    return _with(
        column,
        pl.Series(places, dtype=pl.UInt32),
        pl.Series(texts, dtype=pl.String),
        pl.Series(counts, dtype=pl.UInt32),
    )


def _with(column: pl.Series, places: pl.Series, texts: pl.Series, counts: pl.Series) -> Redacted:
    """``column`` with ``texts`` at ``places``; 0 where nothing was searched."""
    nothing = pl.zeros(len(column), dtype=pl.UInt32, eager=True)
    return column.clone().scatter(places, texts), nothing.scatter(places, counts)
