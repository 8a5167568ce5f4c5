r"""Counts of lines, paragraphs and sentences per text.

A line is the text between two line ends (``\n``), without outer white space; blank lines do not count. A paragraph is a
run of lines without a blank one between them. A sentence ends at a sentence terminal (``\p{Sentence_Terminal}``)
that, after any closing punctuation, is followed by white space and no small Latin letter, or by the end of its line. A
line without one is a sentence.
"""

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.characters import LETTER, NUMBER, PUNCTUATION, SENTENCE_END, SPACE, character_table, decode
from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import mix

SHORT_LINE = 30
"""The most characters of a short line (Penedo et al., 2024)."""

_NAMES = (
    "characters",
    "all_lines",
    "lines",
    "line_characters",
    "bullet_lines",
    "ellipsis_lines",
    "sentence_lines",
    "short_lines",
    "duplicate_lines",
    "duplicate_line_characters",
    "paragraphs",
    "paragraph_characters",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    "hash_signs",
    "ellipses",
    "curly_brackets",
    "sentences",
)
(
    _CHARACTERS,
    _ALL_LINES,
    _LINES,
    _LINE_CHARACTERS,
    _BULLETS,
    _ELLIPSIS_LINES,
    _SENTENCE_LINES,
    _SHORT_LINES,
    _DUPLICATE_LINES,
    _DUPLICATE_LINE_CHARACTERS,
    _PARAGRAPHS,
    _PARAGRAPH_CHARACTERS,
    _DUPLICATE_PARAGRAPHS,
    _DUPLICATE_PARAGRAPH_CHARACTERS,
    _HASH_SIGNS,
    _ELLIPSES,
    _CURLY_BRACKETS,
    _SENTENCES,
) = range(18)

_BASIS = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_BITS = 64

_NEWLINE, _HYPHEN, _ASTERISK, _PLUS, _DOT, _HASH, _CURLY, _ELLIPSIS = 10, 45, 42, 43, 46, 35, 123, 0x2026
_SMALL_A, _SMALL_Z = 97, 122
_BULLET_SIGNS = np.array(sorted(map(ord, "•●‣◦▪▫■□·")), dtype=np.int64)


@kernel
def _line_counts(data, offsets, table, bullet_signs):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    counts = np.zeros((18, documents), dtype=np.int64)
    most = 0
    for document in range(documents):
        newlines = 0
        for at in range(offsets[document], offsets[document + 1]):
            newlines += data[at] == _NEWLINE
        most = max(most, newlines + 1)
    bits = 4
    while 1 << bits < 2 * most:
        bits += 1
    keys, used = np.empty(1 << bits, dtype=np.uint64), np.zeros(1 << bits, dtype=np.bool_)
    hashes, lengths = np.empty(most, dtype=np.uint64), np.empty(most, dtype=np.int64)
    paragraph_hashes, paragraph_lengths = np.empty(most, dtype=np.uint64), np.empty(most, dtype=np.int64)
    for document in range(documents):
        at, stop = offsets[document], offsets[document + 1]
        paragraphs, lines, in_paragraph = 0, 0, False
        while at < stop:
            at, value, length = _line(data, at, stop, table, bullet_signs, counts[:, document])
            counts[_ALL_LINES, document] += 1
            if length == 0:
                in_paragraph = False
                continue
            hashes[lines], lengths[lines] = value, length
            lines += 1
            if in_paragraph:
                paragraph_hashes[paragraphs - 1] = mix(paragraph_hashes[paragraphs - 1] ^ value)
                paragraph_lengths[paragraphs - 1] += 1 + length
            else:
                paragraph_hashes[paragraphs], paragraph_lengths[paragraphs] = value, length
                paragraphs += 1
                in_paragraph = True
        of_document = counts[:, document]
        of_document[_LINES], of_document[_PARAGRAPHS] = lines, paragraphs
        of_document[_LINE_CHARACTERS] = lengths[:lines].sum()
        of_document[_PARAGRAPH_CHARACTERS] = paragraph_lengths[:paragraphs].sum()
        repeated, characters = _repeated(hashes, lengths, lines, keys, used)
        of_document[_DUPLICATE_LINES], of_document[_DUPLICATE_LINE_CHARACTERS] = repeated, characters
        repeated, characters = _repeated(paragraph_hashes, paragraph_lengths, paragraphs, keys, used)
        of_document[_DUPLICATE_PARAGRAPHS], of_document[_DUPLICATE_PARAGRAPH_CHARACTERS] = repeated, characters
    return counts


@kernel
def _line(data, start, stop, table, bullet_signs, counts):  # type: ignore[no-untyped-def]
    """Read the line that starts at ``start``, and add to ``counts`` what can be counted line by line.

    Returns (the byte after its end, a hash of it without outer white space, its characters: 0 if it is blank).
    """
    at, value, hashed = start, _BASIS, _BASIS
    length, characters, dots = 0, 0, 0
    all_characters, sentences, ellipses, hash_signs, curly_brackets = 0, 0, 0, 0, 0
    last, last_flags = np.int64(0), np.uint8(0)
    is_bullet, starred, after_space, unfinished, terminal, waiting = False, False, False, False, False, False
    while at < stop:
        if length and _is_plain(
            data[at], table
        ):  # a shortcut for the most common case: ASCII letters and digits inside a line
            first = at
            while at < stop and _is_plain(data[at], table):
                value = (value ^ np.uint64(data[at])) * _PRIME
                at += 1
            sentences += waiting and not _SMALL_A <= data[first] <= _SMALL_Z
            all_characters += at - first
            characters += at - first
            after_space, unfinished, terminal, waiting = False, True, False, False
            dots, length, hashed, last, last_flags = 0, characters, value, np.int64(0), np.uint8(LETTER)
            continue
        code, width = decode(data, at)
        flags = table[code]
        all_characters += 1
        if code == _NEWLINE:
            at += width
            break
        if not (flags & SPACE and characters == 0):
            characters += 1
            if width == 1:
                value = (value ^ np.uint64(code)) * _PRIME
            else:
                for place in range(at, at + width):
                    value = (value ^ np.uint64(data[place])) * _PRIME
        at += width
        if flags & SPACE:
            waiting, terminal, after_space = waiting or terminal, False, True
            is_bullet = is_bullet or (starred and characters == 2)
            continue
        if waiting and not _SMALL_A <= code <= _SMALL_Z:
            sentences += 1
        waiting, unfinished = False, True
        terminal = flags & SENTENCE_END != 0 or (terminal and flags & PUNCTUATION != 0)
        if code == _DOT:
            dots = 1 if after_space else dots + 1
            if dots % 3 == 0:
                ellipses += 1
        else:
            dots = 0
        ellipses += code == _ELLIPSIS
        hash_signs += code == _HASH
        curly_brackets += code == _CURLY
        if length == 0:
            is_bullet, starred = code == _HYPHEN, code in (_ASTERISK, _PLUS)
            for sign in bullet_signs:
                is_bullet = is_bullet or code == sign
        after_space, length, hashed, last, last_flags = False, characters, value, code, flags
    counts[_CHARACTERS] += all_characters
    counts[_ELLIPSES] += ellipses
    counts[_HASH_SIGNS] += hash_signs
    counts[_CURLY_BRACKETS] += curly_brackets
    if length:
        counts[_SENTENCES] += sentences + unfinished
        counts[_BULLETS] += is_bullet or (starred and length == 1)
        counts[_ELLIPSIS_LINES] += dots >= 3 or last == _ELLIPSIS
        counts[_SENTENCE_LINES] += last_flags & SENTENCE_END != 0
        counts[_SHORT_LINES] += length <= SHORT_LINE
    return at, mix(hashed ^ np.uint64(length)), length


@kernel
def _is_plain(byte, table):  # type: ignore[no-untyped-def]
    return byte < 0x80 and table[byte] & (LETTER | NUMBER) != 0


@kernel
def _repeated(hashes, lengths, count, keys, used):  # type: ignore[no-untyped-def]
    """(how many of the first ``count`` elements repeat an earlier one, their characters). Resets ``used`` to False."""
    bits = 4
    while 1 << bits < 2 * count:
        bits += 1
    shift, mask = np.uint64(_BITS - bits), (1 << bits) - 1
    repeated, characters = 0, 0
    for index in range(count):
        slot = np.int64((hashes[index] * _PRIME) >> shift)
        while used[slot] and keys[slot] != hashes[index]:
            slot = (slot + 1) & mask
        if used[slot]:
            repeated += 1
            characters += lengths[index]
        else:
            used[slot], keys[slot] = True, hashes[index]
    used[: 1 << bits] = False
    return repeated, characters


def line_counts(texts: Texts) -> dict[str, np.ndarray]:
    """Counts per text (int64 [n]). Lengths are in code points; duplicates repeat an earlier line or paragraph of the
    text.

    ``characters``, ``all_lines`` (with the blank ones), ``lines``, ``line_characters``, ``bullet_lines`` (that start
    with a bullet or hyphen, or with an asterisk or plus and a space), ``ellipsis_lines`` (that end in one),
    ``sentence_lines`` (that end in a sentence terminal), ``short_lines`` (of at most ``SHORT_LINE`` characters),
    ``duplicate_lines``,
    ``duplicate_line_characters``, ``paragraphs``, ``paragraph_characters``, ``duplicate_paragraphs``,
    ``duplicate_paragraph_characters``, ``hash_signs``, ``ellipses`` (``...`` and ``…``), ``curly_brackets`` (opening
    ones), ``sentences``.
    """
    return dict(zip(_NAMES, _line_counts(texts.data, texts.offsets, character_table(), _BULLET_SIGNS), strict=True))
