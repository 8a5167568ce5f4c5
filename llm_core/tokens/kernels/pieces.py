"""Cuts text into pieces as the patterns of ``llm_core.tokens.patterns`` do, and counts how often each piece occurs."""

from typing import NamedTuple

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.characters import LETTER, NUMBER, SPACE, character_table, decode
from llm_core.data.kernels.compiled import kernel

_SIGN = 0  # neither letter nor digit nor white space
_KINDS = LETTER | NUMBER | SPACE
_LONG_S = 0x17F  # ſ, which is an s where case does not count


class Style(NamedTuple):
    """How the patterns differ.

    ``digits``: the most in a piece, 0 for any number. ``gpt2``: only a blank may lead a word, also one of digits; case
    counts in contractions; line ends are blanks like others. ``end_whole``: white space that ends a text is one piece.
    """

    digits: int
    gpt2: bool
    end_whole: bool


STYLES = {
    "gpt2": Style(digits=0, gpt2=True, end_whole=False),
    "llama3": Style(digits=3, gpt2=False, end_whole=False),
    "nanochat": Style(digits=2, gpt2=False, end_whole=False),
    "cl100k": Style(digits=3, gpt2=False, end_whole=True),
}


@kernel
def kind_at(data, at, stop, table):  # type: ignore[no-untyped-def]
    """(LETTER, NUMBER, SPACE or 0, code point, width) of the character at ``at``; kind -1 at the end of the text."""
    if at >= stop:
        return -1, 0, 0
    point, width = decode(data, at)
    return table[point] & _KINDS, point, width


@kernel
def run_of(data, at, stop, table, kind, most):  # type: ignore[no-untyped-def]
    """Where the run of characters of ``kind`` from ``at`` on ends; after ``most`` of them if that is not 0."""
    count = 0
    while not most or count < most:
        found, _, width = kind_at(data, at, stop, table)
        if found != kind:
            break
        at += width
        count += 1
    return at


@kernel
def contraction(data, at, stop, folds):  # type: ignore[no-untyped-def]
    """Where the contraction ends whose apostrophe stands at ``at``; 0 if there is none. ``folds``: without case."""
    if at + 1 >= stop:
        return 0
    first, width = decode(data, at + 1)
    if folds and first == _LONG_S:
        return at + 1 + width
    if folds and 65 <= first <= 90:
        first += 32
    if first == 115 or first == 100 or first == 109 or first == 116:  # s d m t
        return at + 2
    if at + 2 >= stop:
        return 0
    second = np.int64(data[at + 2])
    if folds and 65 <= second <= 90:
        second += 32
    if (first == 108 and second == 108) or ((first == 118 or first == 114) and second == 101):  # ll ve re
        return at + 3
    return 0


@kernel
def blanks(data, at, stop, table, lines, end_whole):  # type: ignore[no-untyped-def]
    """Where the piece of white space ends that starts at ``at``. ``lines``: line ends close a piece."""
    end, last, after_line = at, at, 0
    while True:
        kind, point, width = kind_at(data, end, stop, table)
        if kind != SPACE:
            break
        last = end
        end += width
        if point == 10 or point == 13:
            after_line = end
    if end_whole and end == stop:
        return end
    if lines and after_line:
        return after_line
    if end == stop or last == at:
        return end
    return last  # the last blank belongs to what follows, or stands alone


@kernel
def signs(data, at, stop, table, lines):  # type: ignore[no-untyped-def]
    """Where the run of signs from ``at`` on ends, and the line ends behind it if ``lines``."""
    at = run_of(data, at, stop, table, _SIGN, 0)
    while lines and at < stop and (data[at] == 10 or data[at] == 13):
        at += 1
    return at


@kernel
def piece_end(data, at, stop, table, digits, gpt2, end_whole):  # type: ignore[no-untyped-def]
    """Where the piece ends that starts at ``at``; ``stop`` is the end of the text. See ``Style``."""
    kind, point, width = kind_at(data, at, stop, table)
    if point == 39:
        end = contraction(data, at, stop, not gpt2)
        if end:
            return end
    if kind == LETTER:
        return run_of(data, at, stop, table, LETTER, 0)
    if kind == NUMBER:
        return run_of(data, at, stop, table, NUMBER, digits)
    follows, _, _ = kind_at(data, at + width, stop, table)
    if gpt2:
        if point == 32 and follows >= 0 and follows != SPACE:
            if follows == _SIGN:
                return signs(data, at + width, stop, table, False)
            return run_of(data, at + width, stop, table, follows, 0)
    elif follows == LETTER and point != 10 and point != 13:
        return run_of(data, at + width, stop, table, LETTER, 0)
    elif point == 32 and follows == _SIGN:
        return signs(data, at + width, stop, table, True)
    if kind == _SIGN:
        return signs(data, at, stop, table, not gpt2)
    return blanks(data, at, stop, table, not gpt2, end_whole)


@kernel
def count_pieces(data, offsets, text, at, table, digits, gpt2, end_whole, slots, starts, counts, pool, used):  # type: ignore[no-untyped-def]
    """Count the pieces of the texts from byte ``at`` of text ``text`` on, until all are counted or there is no room.

    ``slots`` is a hash table of numbers of pieces, -1 where free; piece n is ``pool[starts[n] : starts[n + 1]]`` and
    occurred ``counts[n]`` times; there are ``used`` of them. Returns (text, byte, pieces) to go on from.
    """
    mask = len(slots) - 1
    while text < len(offsets) - 1:
        stop = offsets[text + 1]
        while at < stop:
            if 2 * used >= len(slots) or used + 2 > len(starts):
                return text, at, used
            end = piece_end(data, at, stop, table, digits, gpt2, end_whole)
            length = end - at
            if starts[used] + length > len(pool):
                return text, at, used
            place = hash_of(data, at, end) & mask
            while True:
                number = slots[place]
                if number < 0:
                    slots[place] = used
                    pool[starts[used] : starts[used] + length] = data[at:end]
                    starts[used + 1] = starts[used] + length
                    counts[used] = 1
                    used += 1
                    break
                if starts[number + 1] - starts[number] == length:
                    same = True
                    for offset in range(length):
                        if pool[starts[number] + offset] != data[at + offset]:
                            same = False
                            break
                    if same:
                        counts[number] += 1
                        break
                place = (place + 1) & mask
            at = end
        text += 1
        if text < len(offsets) - 1:
            at = offsets[text]
    return text, at, used


@kernel
def hash_of(data, start, stop):  # type: ignore[no-untyped-def]
    """FNV-1a (Fowler, Noll and Vo) of some bytes, its halves folded together; not negative."""
    value = np.uint64(0xCBF29CE484222325)
    for place in range(start, stop):
        value = (value ^ np.uint64(data[place])) * np.uint64(0x100000001B3)
    return np.int64((value ^ (value >> np.uint64(32))) & np.uint64(0x7FFFFFFF))


@kernel
def insert_all(slots, starts, pool, used):  # type: ignore[no-untyped-def]
    """Enter all pieces into an empty table ``slots``."""
    mask = len(slots) - 1
    for number in range(used):
        place = hash_of(pool, starts[number], starts[number + 1]) & mask
        while slots[place] >= 0:
            place = (place + 1) & mask
        slots[place] = number


class PieceCounts:
    """How often each piece occurs in all added texts. Memory: the different pieces, and 50 bytes for each."""

    def __init__(self, pattern: str, room: int = 1 << 16) -> None:
        self._style = STYLES[pattern]
        self._slots = np.full(2 * room, -1, dtype=np.int32)
        self._starts = np.zeros(room + 1, dtype=np.int64)
        self._counts = np.zeros(room, dtype=np.int64)
        self._pool = np.empty(8 * room, dtype=np.uint8)
        self._used = 0

    def add(self, texts: Texts) -> None:
        """Count the pieces of ``texts``."""
        text, at = 0, int(texts.offsets[0])
        while text < len(texts.offsets) - 1:
            arrays = (self._slots, self._starts, self._counts, self._pool, self._used)
            text, at, self._used = count_pieces(*texts, text, at, character_table(), *self._style, *arrays)
            if text < len(texts.offsets) - 1:
                self._grow(int(texts.offsets[text + 1]) - at)

    def _grow(self, more: int) -> None:
        room = 2 * len(self._counts)
        self._starts = np.concatenate([self._starts, np.zeros(room // 2, dtype=np.int64)])
        self._counts = np.concatenate([self._counts, np.zeros(room // 2, dtype=np.int64)])
        self._pool = np.concatenate([self._pool, np.empty(max(len(self._pool), more), dtype=np.uint8)])
        self._slots = np.full(2 * room, -1, dtype=np.int32)
        insert_all(self._slots, self._starts, self._pool, self._used)

    def pieces(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(bytes of all pieces, uint8; where each starts, and the end of the last, int64; how often each occurs)."""
        starts = self._starts[: self._used + 1]
        return self._pool[: starts[-1]], starts, self._counts[: self._used]
