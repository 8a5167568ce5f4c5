"""Finds e-mail addresses in a text: a bounded number of characters around each ``@`` is examined."""

import re
import unicodedata
from collections.abc import Iterator

_LONGEST_LOCAL, _LONGEST_DOMAIN, _LONGEST_LABEL = 64, 253, 63  # RFC 5321
_UNSPACED = (
    0x0E00  # from Thai on, few scripts have spaces between words, so an address there ends where the script changes
)


def _marks(first: int, stop: int) -> str:
    """The combining marks in a range of Unicode, for a character class of a regular expression."""
    return "".join(chr(code) for code in range(first, stop) if unicodedata.category(chr(code)).startswith("M"))


# A character of a word: in scripts with spaces between words (ASCII is one), and in other scripts.
_SPACED = rf"(?![\u0e00-\U0010ffff])[^\W_]|[{_marks(0x300, _UNSPACED)}]"
_OTHER = r"(?![\u0000-\u0dff])[^\W_]|[\u0e31-\u0e4e\u3099\u309a]"
# Those signs of RFC 5322 that occur in addresses and not beside them in links and markup.
_LOCAL_BACKWARDS = re.compile(rf"(?:{_SPACED}|[.!#$%&'*+_~^-])+|(?:{_OTHER}|[.+_-])+")
_LABEL = rf"(?:(?:{_SPACED}|-)+|(?:{_OTHER}|-)+)"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_EDGE = re.compile(r"(?:[^\w]|_)+")
_PUNYCODE = re.compile(r"xn--[a-z0-9-]*[a-z0-9]", re.IGNORECASE)
_LONGEST_TOP = 24
_VERSION = re.compile(r"v?[0-9]+\.[0-9]+(?:[-.]|$)|v[0-9]+\.", re.IGNORECASE)
_REMOTE_PATH = re.compile(r":(?:[\w.~-]{0,255}/[\w.~-]|[\w.~-]{1,255}\.git(?!\w))")
# Ends of files' names that are no top-level domains: ``logo@2x.png``.
_FILES = re.compile(r"bmp|css|csv|gif|html?|ico|jpe?g|jsx?|json|pdf|png|svg|tif|txt|webp|xml|ya?ml", re.IGNORECASE)


def mail_spans(text: str) -> Iterator[tuple[int, int]]:
    """(first character, character after the last) of each e-mail address in ``text``, in order.

    Internationalised addresses count (RFC 6531). Text that only looks like an address does not: ``git@host:path/x.git``
    (a place to copy from), ``numpy@1.2.3`` (a version), ``logo@2x.png`` (a file), ``user@localhost`` (no domain),
    ``a@b.T(…)`` (code).
    """
    done, at = 0, text.find("@")
    while at >= 0:
        start = _local(text, at, done)
        stop = _domain(text, at + 1)
        if start < at and stop > at + 1 and not _is_remote(text, start, at, stop):
            yield start, stop
            done = stop
        at = text.find("@", max(at + 1, done))


def _local(text: str, at: int, done: int) -> int:
    """Where the part before the ``@`` at ``at`` starts; ``at`` if there is none."""
    first = max(done, at - _LONGEST_LOCAL - 1)
    window = text[first:at]
    match = _LOCAL_BACKWARDS.match(window[::-1])
    if match is None or len(match[0]) > _LONGEST_LOCAL:
        return at
    local = match[0][::-1].rpartition("..")[2]
    edge = _EDGE.match(local)
    local = local[edge.end() :] if edge else local
    return at if local.endswith(".") else at - len(local)


def _domain(text: str, first: int) -> int:
    """Where the domain that starts at ``first`` ends; ``first`` if there is none."""
    match = _DOMAIN.match(text[first : first + _LONGEST_DOMAIN + 1])
    if match is None or len(match[0]) > _LONGEST_DOMAIN or _VERSION.match(match[0]):
        return first
    labels = match[0].split(".")
    while len(labels) > 2 and not _is_top(labels[-1]):
        labels.pop()
    if len(labels) < 2 or not _is_top(labels[-1]):
        return first
    if any(label[0] == "-" or label[-1] == "-" or len(label) > _LONGEST_LABEL for label in labels):
        return first
    stop = first + len(".".join(labels))
    return first if text[stop : stop + 1] == "(" else stop


def _is_top(label: str) -> bool:
    """Whether ``label`` could be a top-level domain: letters of any script, or Punycode."""
    if _PUNYCODE.fullmatch(label):
        return True
    letters = all(sign.isalpha() or unicodedata.category(sign).startswith("M") for sign in label)
    return letters and 2 <= len(label) <= _LONGEST_TOP and not _FILES.fullmatch(label)


def _is_remote(text: str, start: int, at: int, stop: int) -> bool:
    """Whether the address names files on a machine: ``git@host:path``, ``ssh://git@host/path``."""
    return bool(_REMOTE_PATH.match(text, stop)) or (text[start:at] == "git" and text[start - 3 : start] == "://")
