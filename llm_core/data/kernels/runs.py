"""Finds candidates for telephone numbers and IP addresses: runs of digits and separators."""

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.compiled import kernel

_ZERO, _NINE, _DOT, _COLON, _UNDERSCORE = 48, 57, 46, 58, 95
_SEPARATOR, _LETTER, _DIGIT, _HEX = 1, 2, 4, 8
_LEAST_DIGITS = 7
_LEAST_ADDRESS = 3  # bytes: two colons and a digit
_LONGEST_GAP = 4  # bytes between two groups of digits
_WIDE_SPACE, _WIDE_DASH = 1, 2
_X, _E = 120, 101
_LOWER = 32  # the bit that makes an ASCII letter small


def _kinds() -> np.ndarray:
    """uint8 [256]: the kinds of every byte, as bit flags."""
    kinds = np.zeros(256, dtype=np.uint8)
    for byte in b" -./()":
        kinds[byte] |= _SEPARATOR
    for byte in range(128):
        if chr(byte).isalpha() or byte == _UNDERSCORE:
            kinds[byte] |= _LETTER
        if chr(byte).isdigit():
            kinds[byte] |= _DIGIT | _HEX
        if chr(byte) in "abcdefABCDEF":
            kinds[byte] |= _HEX
    return kinds


_KINDS = _kinds()


@kernel
def _separator(data, at, end):  # type: ignore[no-untyped-def]
    """Bytes of the separator at ``at``: an ASCII one, a no-break space or a Unicode hyphen or dash; 0 for none."""
    if _KINDS[data[at]] & _SEPARATOR:
        return 1
    if data[at] == 0xC2 and at + 1 < end and data[at + 1] == 0xA0:
        return 2
    if data[at] == 0xE2 and at + 2 < end and data[at + 1] == 0x80:
        last = data[at + 2]
        if 0x90 <= last <= 0x93 or last == 0xAF:
            return 3
    return 0


@kernel
def _digit_runs(data, offsets):  # type: ignore[no-untyped-def]
    # Room for the largest possible number: pages that are not written take no memory, and a growing array would be
    # slow.
    spans, found = np.empty((len(data) // _LEAST_DIGITS, 3), dtype=np.int64), 0
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        first = at
        start, stop, digits = -1, -1, 0
        while at < end:
            if not (_ZERO <= data[at] <= _NINE):
                at += 1
                continue
            group = at
            while at < end and _ZERO <= data[at] <= _NINE:
                at += 1
            after = at < end and _KINDS[data[at]] & _LETTER != 0
            if after and at + 1 < end:
                letter, following = data[at] | _LOWER, data[at + 1]
                if (letter == _X and _ZERO <= following <= _NINE) or (letter == _E and following | _LOWER == _X):
                    after = False  # an extension
            if not after and not (group > first and _KINDS[data[group - 1]] & _LETTER != 0):
                if start < 0:
                    start = group
                stop = at
                digits += at - group
                gap = at
                while gap < end and gap - at <= _LONGEST_GAP:
                    width = _separator(data, gap, end)
                    if width == 0:
                        break
                    gap += width
                if gap > at and gap < end and gap - at <= _LONGEST_GAP and _ZERO <= data[gap] <= _NINE:
                    at = gap
                    continue
            if start >= 0:
                if digits >= _LEAST_DIGITS:
                    spans[found, 0], spans[found, 1], spans[found, 2] = text, start, stop
                    found += 1
                start, digits = -1, 0
        if start >= 0 and digits >= _LEAST_DIGITS:
            spans[found, 0], spans[found, 1], spans[found, 2] = text, start, stop
            found += 1
    return spans[:found].copy()


@kernel
def _address_runs(data, offsets):  # type: ignore[no-untyped-def]
    spans, found = np.empty((len(data) // _LEAST_ADDRESS, 3), dtype=np.int64), 0
    for text in range(len(offsets) - 1):
        at, end = offsets[text], offsets[text + 1]
        done = at
        while at < end:
            if data[at] != _DOT and data[at] != _COLON:
                at += 1
                continue
            start = at
            while start > done and _KINDS[data[start - 1]] & _HEX:
                start -= 1
            dots, colons, digits = 0, 0, 0
            while at < end:
                byte = data[at]
                if byte == _DOT:
                    dots += 1
                elif byte == _COLON:
                    colons += 1
                elif not (_KINDS[byte] & _HEX):
                    break
                else:
                    digits += 1
                at += 1
            done = at
            if digits and (dots >= 3 or colons >= 2):
                spans[found, 0], spans[found, 1], spans[found, 2] = text, start, at
                found += 1
    return spans[:found].copy()


def digit_runs(texts: Texts) -> np.ndarray:
    """int64 [runs, 3]: text, first byte and the byte after the last one of each run of groups of ASCII digits.

    A run has at least 7 digits. Between two groups are 1 to 4 bytes of spaces, hyphens, dots, slashes and brackets.
    A group next to an ASCII letter belongs to no run, unless the letter starts an extension (``x12``, ``ext``).
    """
    found: np.ndarray = _digit_runs(texts.data, texts.offsets)
    return found


def address_runs(texts: Texts) -> np.ndarray:
    """int64 [runs, 3]: text, first byte and the byte after the last one of each run of hexadecimal digits, dots and
    colons with at least 3 dots or 2 colons."""
    found: np.ndarray = _address_runs(texts.data, texts.offsets)
    return found
