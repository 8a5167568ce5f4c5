r"""Words: runs without white space, and pieces of them. (English words: ``english_words``.)

A *piece* is a longest run of word characters (letters, marks, digits, connectors such as ``_`` and the two joiners:
``\w`` of UTS #18), or a longest run of other characters that are not white space: ``\w+|[^\w\s]+``. Block lists compare
pieces. Scripts without spaces are not cut: a Chinese clause is one word.
"""

from typing import NamedTuple

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.characters import SPACE, WORD, character_table, decode
from llm_core.data.kernels.compiled import kernel

BASIS = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


class Words(NamedTuple):
    """All words of some texts, in their order; the words of text ``i`` are ``bounds[i]`` to ``bounds[i + 1]``.

    ``hashes``: uint64, of their bytes. ``characters``: int32, code points. ``flags``: uint8, the flags of all
    characters of a word together (no ``characters.WORD`` if it has only signs). ``bounds``: int64 [n + 1].
    """

    hashes: np.ndarray
    characters: np.ndarray
    flags: np.ndarray
    bounds: np.ndarray


@kernel
def next_word(data, start, stop, table):  # type: ignore[no-untyped-def]
    """The first word in ``data[start:stop]``: (first byte, byte after the last, characters, flags of all characters
    together). The first byte is ``stop`` if there is no word.
    """
    at = start
    flags = np.uint8(SPACE)
    width = 0
    while at < stop:
        code, width = decode(data, at)
        flags = table[code]
        if not flags & SPACE:
            break
        at += width
    if at >= stop:
        return stop, stop, 0, np.uint8(0)
    first, kind = at, flags & WORD
    together, characters = flags, 1
    at += width
    while at < stop:
        code, width = decode(data, at)
        flags = table[code]
        if flags & SPACE or flags & WORD != kind:
            break
        together |= flags
        characters += 1
        at += width
    return first, at, characters, together


@kernel
def hash_bytes(data, start, stop):  # type: ignore[no-untyped-def]
    """A 64-bit hash of ``data[start:stop]`` (uint64); equal bytes have equal hashes on every machine."""
    value = BASIS
    for at in range(start, stop):
        value = hash_step(value, data[at])
    return hash_end(value, stop - start)


@kernel
def hash_step(value, byte):  # type: ignore[no-untyped-def]
    """The state of ``hash_bytes`` after ``byte``; ``value`` is the state before it (``BASIS`` at the start)."""
    return (value ^ np.uint64(byte)) * _PRIME


@kernel
def hash_end(value, size):  # type: ignore[no-untyped-def]
    """The result of ``hash_bytes`` after ``size`` bytes with state ``value``."""
    return mix(value ^ np.uint64(size))


@kernel
def mix(value):  # type: ignore[no-untyped-def]
    """A bijection of uint64 in which every bit of the result depends on every bit of ``value``."""
    value = (value ^ (value >> _SHIFT)) * _PRIME
    value = (value ^ (value >> _SHIFT)) * _PRIME
    return value ^ (value >> _SHIFT)


@kernel
def _words(data, offsets, table):  # type: ignore[no-untyped-def]
    """``Words`` in one pass: every word is hashed (as by ``hash_bytes``) while it is read."""
    documents = len(offsets) - 1
    bounds = np.zeros(documents + 1, dtype=np.int64)
    room = len(data)  # there can't be more words than bytes; pages that are not written take no memory
    hashes = np.empty(room, dtype=np.uint64)
    lengths = np.empty(room, dtype=np.int32)
    kinds = np.empty(room, dtype=np.uint8)
    found = 0
    for document in range(documents):
        at, stop = offsets[document], offsets[document + 1]
        while at < stop:
            code, width = decode(data, at)
            flags = table[code]
            if flags & SPACE:
                at += width
                continue
            first, kind, together, characters = at, flags & WORD, flags, 0
            value = BASIS
            while not flags & SPACE and flags & WORD == kind:
                together |= flags
                characters += 1
                if width == 1:
                    value = hash_step(value, code)
                else:
                    for place in range(at, at + width):
                        value = hash_step(value, data[place])
                at += width
                if at >= stop:
                    break
                code, width = decode(data, at)
                flags = table[code]
            hashes[found] = hash_end(value, at - first)
            lengths[found] = characters
            kinds[found] = together
            found += 1
        bounds[document + 1] = found
    return hashes[:found], lengths[:found], kinds[:found], bounds


@kernel
def put_word(data, start, stop, table, hashes, characters, flags, found):  # type: ignore[no-untyped-def]
    """Add the word ``data[start:stop]`` at ``found``, unless it is empty. Returns the new number of words."""
    if stop <= start:
        return found
    together, count, at = np.uint8(0), 0, start
    while at < stop:
        code, width = decode(data, at)
        together |= table[code]
        count += 1
        at += width
    hashes[found], characters[found], flags[found] = hash_bytes(data, start, stop), count, together
    return found + 1


@kernel
def _spaced(data, offsets, table):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    bounds = np.zeros(documents + 1, dtype=np.int64)
    room = len(data) // 2 + documents  # between two of them is a space
    hashes = np.empty(room, dtype=np.uint64)
    characters = np.empty(room, dtype=np.int32)
    flags = np.empty(room, dtype=np.uint8)
    found = 0
    for document in range(documents):
        start = at = offsets[document]
        stop = offsets[document + 1]
        while at < stop:
            code, width = decode(data, at)
            if table[code] & SPACE:
                found = put_word(data, start, at, table, hashes, characters, flags, found)
                start = at + width
            at += width
        found = put_word(data, start, stop, table, hashes, characters, flags, found)
        bounds[document + 1] = found
    return hashes[:found], characters[:found], flags[:found], bounds


def pieces(texts: Texts) -> Words:
    """All pieces of ``texts``."""
    return Words(*_words(texts.data, texts.offsets, character_table()))


def spaced_words(texts: Texts) -> Words:
    """All runs without white space of ``texts``."""
    return Words(*_spaced(texts.data, texts.offsets, character_table()))


def pieces_of(text: str) -> list[str]:
    """The pieces of one text, for explanations and tests."""
    table, data = character_table(), np.frombuffer(text.encode(), dtype=np.uint8)
    found, at = [], 0
    while at < len(data):
        first, at, _, _ = next_word(data, at, len(data), table)
        if first < len(data):
            found.append(data[first:at].tobytes().decode())
    return found
