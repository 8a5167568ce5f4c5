"""Functions from a column of texts to the redacted column and counts.

A cheap test finds candidates (an ``@``, a run of digits); only these are examined.
"""

import polars as pl

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.redactions.cutting import Redacted, cut, patched
from llm_core.data.redactions.ip_addresses import Found, ip_addresses
from llm_core.data.redactions.mail import mail_spans

# Fixed, and reserved for examples: RFC 2606, RFC 5737, RFC 3849.
EMAIL = "email@example.com"
IP = "192.0.2.1"
IPV6 = "2001:db8::1"

# Citations as C4's code removes them (Raffel et al., 2020).
_CITATION = r"\[[0-9]*\]|\[edit\]|\[citation needed\]"


def citations(column: pl.Series) -> Redacted:
    """Remove ``[1]``, ``[edit]`` and ``[citation needed]``."""
    possible = column.str.contains("[", literal=True)
    found = column.filter(possible)
    counts = found.str.count_matches(_CITATION)
    return patched(column, possible.arg_true(), found.str.replace_all(_CITATION, ""), counts)


def emails(column: pl.Series) -> Redacted:
    """Replace e-mail addresses by ``EMAIL``."""
    places = column.str.contains("@", literal=True).arg_true()
    texts, counts = [], []
    for text in column.gather(places):
        spans = list(mail_spans(text))
        kept = [0, *(end for span in spans for end in span), len(text)]
        texts.append(EMAIL.join(text[start:stop] for start, stop in zip(kept[::2], kept[1::2], strict=True)))
        counts.append(len(spans))
    return patched(column, places, pl.Series(texts, dtype=pl.String), pl.Series(counts, dtype=pl.UInt32))


def public_ips(column: pl.Series) -> Redacted:
    """Replace IPv4 addresses by ``IP`` and IPv6 addresses by ``IPV6``, except private and other special ones: they say
    nothing about a person."""
    return cut(column, (_replacement(found) for found in ip_addresses(to_texts(column)) if found.public))


def ips(column: pl.Series) -> Redacted:
    """Replace all IPv4 addresses by ``IP``, and all IPv6 addresses by ``IPV6``."""
    return cut(column, map(_replacement, ip_addresses(to_texts(column))))


def _replacement(found: Found) -> tuple[int, int, int, str]:
    return found.text, found.start, found.stop, IP if found.version == 4 else IPV6
