"""Finds IP addresses in texts, and says which of them are public."""

import re
from collections.abc import Iterator
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.runs import address_runs

_CONTEXT = 32  # bytes that are read before an address
_LONGEST_ZONE = 32
_NEAR = 8  # bytes between two addresses of a list
_BYTE = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"(?<![\w.])(?:{_BYTE}\.){{3}}{_BYTE}(?!\w|\.\w)", re.ASCII)
_ZONE = re.compile(r"%[0-9A-Za-z][0-9A-Za-z_.-]*(?<![.-])")

# Words before four numbers of another kind: versions, sections, object identifiers, enzymes; names of programs, also
# with an edition ("Reader XI").
_OTHER = re.compile(
    r"(?:(?<![^\W_])(?:(?:versions?|ver|v|rev|revision|releases?|builds?|firmware|driver|patch|update|upgrade|kernel"
    r"|sections?|sec|chapters?|ch|clauses?|articles?|art|paragraphs?|para|appendix|annex|rules?|fig|figures?|tables?"
    r"|tab|part|item|step|exercise|example|definition|theorem|lemma|equation|eq|module|unit|lesson|formula|oids?|mib"
    r"|snmp|ec)|(?:windows|chrome|chromium|firefox|safari|opera|edge|explorer|player|flash|java|jre|jdk|itunes"
    r"|quicktime|acrobat|reader|office|plugin|sdk|dll)(?:\s(?:[ivx]{1,5}|dc|cc|cs|esr|pro))?)(?![^\W_])"
    r"[\s.:=#(\"'-]{0,3}(?:(?:no|nr|number|is|of)[\s.:#]{1,3})?"
    r"(?:[0-9]+(?:\.[0-9]+){1,4}(?:\s?(?:,|to|and|or|through|-|–)\s?)){0,2}"
    r"|(?<![\w./:])[A-Za-z][\w+-]*/|[^\W\d_]-|[§$€£#])\Z",
    re.IGNORECASE,
)
_RELEASED = re.compile(r"\s(?:patch|release|version|build|update|was released|firmware|driver)", re.IGNORECASE)
# Four small numbers are mostly a version, a section or a formula. They count as an address only if the text around says
# so. "From" does not say so after an update, an upgrade or a move.
_LARGEST_FIRST, _SMALL, _LEAST_SMALL = 25, 10, 2
_SAYS_SO = re.compile(
    r"(?:(?<![^\W_])(?:ip|ipv4|address(?:es)?|addr|hosts?|servers?|dns|nameservers?|ping|ssh|gateway|subnet|router"
    r"|proxy|client|peer|(?<!date )(?<!dated )(?<!grade )(?<!graded )(?<!moved )from|connect(?:ed)?|resolvers?"
    r"|traceroute|tracert|listen|bind)(?![^\W_])[^0-9\n]{0,12}|//|@|\[)\Z",
    re.IGNORECASE,
)
_SAYS_SO_AFTER = re.compile(r":\d{2,5}(?![\d.])|/(?:[12]?\d|3[0-2])(?![\d.])| - - \[")  # a port, a network, a log
_RESOLVERS = frozenset(["1.1.1.1", "4.2.2.1", "4.2.2.2", "8.8.4.4", "8.8.8.8", "9.9.9.9", "1.0.0.1"])

# IANA's special-purpose addresses, multicast and the reserved class: (first address, bits of the prefix).
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
# The IPv6 blocks in use, and the kind of their addresses. No other ``a::b`` is the address of a machine.
_PUBLIC, _SPECIAL, _MAPPED, _TRANSLATED, _SIX_TO_FOUR = "public", "special", "mapped", "translated", "6to4"
_BLOCKS = (  # the first match counts
    ("::ffff:0:0", 96, _MAPPED),
    ("64:ff9b::", 96, _TRANSLATED),  # RFC 6052
    ("64:ff9b:1::", 48, _SPECIAL),
    ("100::", 64, _SPECIAL),
    ("2001::", 32, _PUBLIC),  # Teredo: holds a machine's IPv4 address
    ("2001::", 23, _SPECIAL),
    ("2001:db8::", 32, _SPECIAL),  # documentation, RFC 3849
    ("2002::", 16, _SIX_TO_FOUR),
    ("3fff::", 20, _SPECIAL),  # documentation, RFC 9637
    ("2000::", 3, _PUBLIC),
    ("fc00::", 7, _SPECIAL),
    ("fe80::", 10, _SPECIAL),
    ("ff00::", 8, _SPECIAL),
)
_NETWORKS = tuple((int(IPv6Address(first)) >> (128 - bits), 128 - bits, kind) for first, bits, kind in _BLOCKS)


class Found(NamedTuple):
    """An address: number of the text, first byte in it, byte after the last, 4 or 6, and whether it is public."""

    text: int
    start: int
    stop: int
    version: int
    public: bool


def ip_addresses(texts: Texts) -> Iterator[Found]:
    """The IP addresses in ``texts``, in order. The time is linear in the size of the texts."""
    whole, offsets = texts.data.tobytes(), texts.offsets
    last = Found(-1, 0, 0, 4, False)
    for text, start, stop in address_runs(texts).tolist():
        origin, end_of_text = int(offsets[text]), int(offsets[text + 1])
        before = whole[max(origin, start - _CONTEXT) : start].decode(errors="ignore")
        after = whole[stop : min(end_of_text, stop + _LONGEST_ZONE)].decode(errors="ignore")
        place = start - origin
        run = whole[start:stop].decode()
        six = _ipv6(run, before, after) if run.count(":") > 1 else None
        if six:
            first, end, public = six
            last = Found(text, place + first, place + end, 6, public)
            yield last
            continue
        around = before + run + after
        for match in _IPV4.finditer(around, max(0, len(before) - 1)):
            if match.start() < len(before) or match.end() > len(before) + len(run):
                continue
            preceding = around[max(0, match.start() - _CONTEXT) : match.start()]
            near = last.text == text and place + match.start() - len(before) - last.stop <= _NEAR
            if _is_address(match[0], preceding, around[match.end() : match.end() + _CONTEXT], near):
                first, end = match.start() - len(before), match.end() - len(before)
                last = Found(text, place + first, place + end, 4, public_ipv4(match[0]))
                yield last


def _is_address(numbers: str, before: str, after: str, near: bool) -> bool:
    """Whether ``numbers`` are an IPv4 address, not a version or the like. ``near``: another address is near."""
    if numbers.startswith("1.3.6.1") or _OTHER.search(before) or _RELEASED.match(after):
        return False
    if near or not _is_like_version(numbers) or numbers in _RESOLVERS:
        return True
    return _SAYS_SO.search(before) is not None or _SAYS_SO_AFTER.match(after) is not None


def _is_like_version(numbers: str) -> bool:
    """Whether the first number is small, and at least two have one digit. One random address in 200 is so."""
    found = [int(number) for number in numbers.split(".")]
    return found[0] <= _LARGEST_FIRST and sum(number < _SMALL for number in found) >= _LEAST_SMALL


def _ipv6(run: str, before: str, after: str) -> tuple[int, int, bool] | None:
    """(first character, character after the last, whether it is public) if ``run`` is an IPv6 address, else None.

    A full stop or a colon at its end does not belong to it; a zone (``%eth0``) does.
    """
    if re.match(r"\w", after) or re.search(r"[\w.:]\Z", before) or len(run) > 48:
        return None
    core = run.rstrip(".")
    if core.endswith(":") and not core.endswith("::"):
        core = core[:-1]
    public = public_ipv6(core)
    if public is None:
        return None
    end = len(core)
    zone = _ZONE.match(after) if end == len(run) else None
    return 0, end + (len(zone[0]) if zone else 0), public


def public_ipv4(address: str) -> bool:
    """Whether ``address`` belongs to a machine on the internet: not private, not for documentation, not special."""
    number = _number(address)
    return not any(number >> (32 - bits) == _number(first) >> (32 - bits) for first, bits in _NOT_PUBLIC)


def public_ipv6(address: str) -> bool | None:
    """``public_ipv4`` for IPv6; None if ``address`` is invalid or in an unused block (``a::b``, ``::``, ``::1``)."""
    try:
        number = int(IPv6Address(address))
    except AddressValueError:
        return None
    kind = next((kind for network, shift, kind in _NETWORKS if number >> shift == network), None)
    if kind in (_MAPPED, _TRANSLATED):
        return public_ipv4(_dotted(number & 0xFFFFFFFF))
    if kind == _SIX_TO_FOUR:
        return public_ipv4(_dotted(number >> 80 & 0xFFFFFFFF))
    return None if kind is None else kind == _PUBLIC


def _dotted(number: int) -> str:
    return ".".join(map(str, number.to_bytes(4)))


def _number(address: str) -> int:
    return int.from_bytes(map(int, address.split(".")))
