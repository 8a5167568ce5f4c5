"""English words as spaCy's tokenizer cuts them; datatrove counts words so.

Signs at both ends of a run without white space are words of their own: quotation marks, brackets, commas, ``'s``, a
full stop unless it ends an abbreviation, a unit after a number. The rest is one word if it is an address; otherwise it
is cut at hyphens, slashes and similar signs between letters. ``didn't`` is two words, ``did`` and ``n't``. The rules
are those of spaCy 3.8 (Honnibal et al., 2020), without its lists of emoticons and of rare contractions.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import Texts, to_texts
from llm_core.data.kernels.characters import EMOJI, LETTER, NUMBER, SPACE, character_table, decode, is_space
from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import BASIS, Words, hash_bytes, hash_end, hash_step, put_word

_PUNCTUATION, _QUOTE, _CURRENCY, _SIGN, _DASH = 1, 2, 4, 8, 16
_SIGNS = {
    _PUNCTUATION: ",:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪",
    _QUOTE: "'\"”“`‘´’‚„»«「」『』（）〔〕【】《》〈〉⟦⟧",
    _CURRENCY: "$£€¥฿₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₴₵₶₷₸₹₺₻₼₽₾₿",
    _SIGN: "§%=",
    _DASH: "—–",
}
_UNITS = (
    "km km² km³ m m² m³ dm dm² dm³ cm cm² cm³ mm mm² mm³ ha µm nm yd in ft kg g mg µg t lb oz m/s km/h kmh mph hPa Pa "
    "mbar mb MB kb KB gb GB tb TB T G M K %"
)
_WHOLE = (
    "Mr. Mrs. Ms. Dr. Prof. St. Jr. Gen. Gov. Rep. Sen. Rev. Adm. Messrs. Bros. Co. co. Corp. Inc. Ltd. vs. v.s. Mt. "
    "a.m. p.m. e.g. i.e. E.g. I.e. E.G. I.E. Ph.D. D.C. N.C. N.D. N.H. N.J. N.M. N.Y. S.C. Jan. Feb. Mar. Apr. Jun. "
    "Jul. Aug. Sep. Sept. Oct. Nov. Dec. Ak. Ala. Ariz. Ark. Calif. Colo. Conn. Del. Fla. Ga. Ia. Id. Ill. Ind. Kan. "
    "Kans. Ky. La. Mass. Md. Mich. Minn. Miss. Mo. Mont. Neb. Nebr. Nev. Okla. Ore. Pa. Tenn. Va. Wash. Wis. and/or "
    "w/o o'clock O'clock ma'am Ma'am"
)
"""Words that are not cut."""
_ENDINGS = "n't 'll 're 've 'd 'm n’t ’ll ’re ’ve ’d ’m"
_LONGEST_UNIT = 5
_LONGEST_WHOLE = 8
_LONGEST_ENDING = 5

_DOT, _ELLIPSIS, _PLUS, _HYPHEN, _COMMA, _COLON, _SLASH, _TILDE, _AT = 46, 0x2026, 43, 45, 44, 58, 47, 126, 64
_APOSTROPHES = (39, 0x2019)
_NONE = -1


@kernel
def _flags(code, signs):  # type: ignore[no-untyped-def]
    return signs[code] if 0 <= code < len(signs) else np.uint8(0)


@kernel
def _is_digit(code):  # type: ignore[no-untyped-def]
    return 48 <= code <= 57


@kernel
def _is_capital(code):  # type: ignore[no-untyped-def]
    return 65 <= code <= 90 or (0xC0 <= code <= 0xDE and code != 0xD7)


@kernel
def _is_letter(code, table):  # type: ignore[no-untyped-def]
    return code >= 0 and table[code] & LETTER != 0


@kernel
def _is_icon(code, table):  # type: ignore[no-untyped-def]
    """Whether ``code`` is a symbol that stands for no word and no product or sum: ©, °, →, a box, an emoji."""
    if code < 0xA6 or table[code] & (LETTER | NUMBER):
        return False
    return table[code] & EMOJI != 0 or code in (0xA6, 0xA9, 0xAE, 0xB0) or 0x2100 <= code < 0x2C00 or code >= 0x1F000


@kernel
def _before(data, at, start):  # type: ignore[no-untyped-def]
    """(code point, first byte) of the character that ends at ``at``; (``_NONE``, ``start``) at the beginning."""
    if at <= start:
        return np.int64(_NONE), start
    first = at - 1
    while data[first] & 0xC0 == 0x80:
        first -= 1
    return decode(data, first)[0], first


@kernel
def _is_in(data, start, stop, hashes):  # type: ignore[no-untyped-def]
    value = hash_bytes(data, start, stop)
    place = np.searchsorted(hashes, value)
    return place < len(hashes) and hashes[place] == value


@kernel
def _dots(data, at, stop):  # type: ignore[no-untyped-def]
    count = 0
    while at + count < stop and data[at + count] == _DOT:
        count += 1
    return count


@kernel
def _prefix(data, start, stop, table, signs):  # type: ignore[no-untyped-def]
    """Bytes of the sign at the start that is a word of its own; 0 if there is none."""
    code, width = decode(data, start)
    if code == _DOT:
        dots = _dots(data, start, stop)
        return dots if dots > 1 else 0
    if code == _PLUS:
        return 0 if start + 1 < stop and _is_digit(data[start + 1]) else 1
    return width if _flags(code, signs) or code == _ELLIPSIS or _is_icon(code, table) else 0


@kernel
def _suffix(data, start, stop, table, signs, units):  # type: ignore[no-untyped-def]
    """Bytes of the sign at the end that is a word of its own; 0 if there is none."""
    code, first = _before(data, stop, start)
    before, earlier = _before(data, first, start)
    if code == _DOT:
        if before == _DOT:
            while first > start and data[first - 1] == _DOT:
                first -= 1
            return stop - first
        if _is_capital(before):
            return 1 if _is_capital(_before(data, earlier, start)[0]) else 0
        ends = _is_digit(before) or _is_letter(before, table) or _flags(before, signs) & (_PUNCTUATION | _QUOTE)
        return 1 if ends or before in (_HYPHEN, _PLUS, 37, 0xB2) else 0
    if code in (83, 115) and before in _APOSTROPHES:
        return stop - earlier
    if _flags(code, signs) & (_PUNCTUATION | _QUOTE | _DASH) or code == _ELLIPSIS or _is_icon(code, table):
        return stop - first
    if _is_digit(before) and (code == _PLUS or _flags(code, signs) & _CURRENCY):
        return stop - first
    at = stop
    while at > start and stop - at <= _LONGEST_UNIT and not _is_digit(data[at - 1]):
        at -= 1
    return stop - at if start < at < stop and _is_digit(data[at - 1]) and _is_in(data, at, stop, units) else 0


@kernel
def _is_whole(data, start, stop, whole):  # type: ignore[no-untyped-def]
    """Whether ``data[start:stop]`` is an abbreviation with its full stop, or another word that is not cut."""
    if stop - start == 2 and data[stop - 1] == _DOT and 97 <= data[start] <= 122:
        return True
    return stop - start <= _LONGEST_WHOLE and _is_in(data, start, stop, whole)


@kernel
def _is_name(byte):  # type: ignore[no-untyped-def]
    """Whether ``byte`` may be in the name of a host; all bytes that are not ASCII may."""
    return _is_digit(byte) or 65 <= byte <= 90 or 97 <= byte <= 122 or byte in (_HYPHEN, 95) or byte >= 0x80


@kernel
def _is_address(data, start, stop):  # type: ignore[no-untyped-def]
    """Whether ``data[start:stop]`` looks like a URL, with or without a scheme, or like an e-mail address."""
    host, scheme = start, True
    for at in range(start, stop):
        byte = data[at]
        if scheme and byte == _COLON:
            if at > start and at + 2 < stop and data[at + 1] == _SLASH and data[at + 2] == _SLASH:
                host = at + 3
            scheme = False
        elif byte == _AT:
            host, scheme = at + 1, False
        else:
            scheme = scheme and (_is_name(byte) or byte in (_PLUS, _DOT))
    dots, label, lower = 0, 0, True
    at = host
    while at < stop:
        byte = data[at]
        if byte == _DOT:
            if label == 0:
                return False
            dots, label, lower = dots + 1, 0, True
        elif byte in (_SLASH, 63, 35, _COLON):  # a path, a question, a place, a port
            break
        elif _is_name(byte):
            label += 1
            lower = lower and (97 <= byte <= 122 or byte >= 0x80)
        else:
            return False
        at += 1
    return dots > 0 and label > 1 and lower


@kernel
def _infix(data, at, stop, before, table, signs):  # type: ignore[no-untyped-def]
    """Bytes of the sign at ``at`` that is a word between two others; 0 if it belongs to its neighbours."""
    code, width = decode(data, at)
    dots = _dots(data, at, stop)
    if dots > 1:
        return dots
    if code == _ELLIPSIS or _is_icon(code, table):
        return width
    end = at + width
    if code == _HYPHEN:
        while end < stop and data[end] == _HYPHEN and end - at < 3:
            end += 1
    after = decode(data, end)[0] if end < stop else np.int64(_NONE)
    letters = _is_letter(before, table) and _is_letter(after, table)
    if code == _DOT:
        opened = _is_capital(after) or _flags(after, signs) & _QUOTE != 0
        closed = (_is_letter(before, table) and not _is_capital(before)) or _flags(before, signs) & _QUOTE != 0
        return 1 if opened and closed else 0
    if code == _COMMA:
        return 1 if letters else 0
    counts = code in (_PLUS, 42, 94) or (code == _HYPHEN and end == at + 1)
    if counts and _is_digit(before) and (_is_digit(after) or after == _HYPHEN):
        return 1
    joins = code in (_HYPHEN, _TILDE, _COLON, _SLASH, 60, 61, 62) or _flags(code, signs) & _DASH != 0
    return end - at if joins and (letters or (_is_digit(before) and _is_letter(after, table))) else 0


@kernel
def _ending(data, start, stop, endings):  # type: ignore[no-untyped-def]
    """Bytes of ``n't``, ``'ll`` and similar endings after letters; 0 if there are none."""
    apostrophe = False
    for at in range(max(start, stop - _LONGEST_ENDING), stop):
        apostrophe = apostrophe or data[at] == 39 or data[at] == 0xE2
    if not apostrophe:
        return 0
    for size in range(2, _LONGEST_ENDING + 1):
        first = stop - size
        if first > start and _is_in(data, first, stop, endings):
            for at in range(start, first):
                if not (65 <= data[at] <= 90 or 97 <= data[at] <= 122):
                    return 0
            return size
    return 0


@kernel
def _is_simple(data, start, at, last, value, together, signs, whole):  # type: ignore[no-untyped-def]
    """Whether ``data[start:at]`` (ASCII letters and digits, with hash ``value`` and flags ``together``) and the byte at
    ``at`` are a word each, and the run ends there. This is a shortcut for the most common case; the general code gives
    the same result.
    """
    if at == start or (at + 1 < last and not is_space(data[at + 1])):
        return False
    if data[at] != _DOT:
        return data[at] < 0x80 and signs[data[at]] & (_PUNCTUATION | _QUOTE) != 0
    if _is_capital(data[at - 1]) or (at == start + 1 and not together & NUMBER):
        return False  # initials and the like
    size = at + 1 - start
    if size > _LONGEST_WHOLE:
        return True
    place = np.searchsorted(whole, hash_end(hash_step(value, data[at]), size))
    return place == len(whole) or whole[place] != hash_end(hash_step(value, data[at]), size)


@kernel
def _words(data, offsets, table, signs, units, whole, endings):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    bounds = np.zeros(documents + 1, dtype=np.int64)
    room = len(data)  # there can't be more words than bytes; pages that are not written take no memory
    hashes = np.empty(room, dtype=np.uint64)
    characters = np.empty(room, dtype=np.int32)
    flags = np.empty(room, dtype=np.uint8)
    taken = np.empty(room, dtype=np.int64)  # where the signs at the end of this run start
    found = 0
    for document in range(documents):
        at, last = offsets[document], offsets[document + 1]
        while at < last:
            start, value, together = at, BASIS, np.uint8(0)
            while at < last and data[at] < 0x80 and table[data[at]] & (LETTER | NUMBER) != 0:
                value = hash_step(value, data[at])
                together |= table[data[at]]
                at += 1
            ended = at == last or is_space(data[at])
            unit = together & NUMBER != 0 and not _is_digit(data[at - 1])  # may stand there, after digits
            if not unit and (ended or _is_simple(data, start, at, last, value, together, signs, whole)):
                if at > start:
                    hashes[found], characters[found], flags[found] = hash_end(value, at - start), at - start, together
                    found += 1
                if not ended:
                    hashes[found], characters[found], flags[found] = hash_bytes(data, at, at + 1), 1, table[data[at]]
                    found += 1
                    at += 1
                at += 1
                continue
            at = start
            code, width = decode(data, at)
            if table[code] & SPACE:
                at += width
                continue
            while at < last:
                code, width = decode(data, at)
                if table[code] & SPACE:
                    break
                at += width
            stop, signs_taken = at, 0
            while start < stop and not _is_whole(data, start, stop, whole):
                size = _prefix(data, start, stop, table, signs)
                found = put_word(data, start, start + size, table, hashes, characters, flags, found)
                start += size
                less = _suffix(data, start, stop, table, signs, units) if start < stop else 0
                if less:
                    stop -= less
                    taken[signs_taken] = stop
                    signs_taken += 1
                if not size and not less:
                    break
            if _is_whole(data, start, stop, whole) or _is_address(data, start, stop):
                found = put_word(data, start, stop, table, hashes, characters, flags, found)
            else:
                ending = _ending(data, start, stop, endings)
                piece, place, before = start, start, np.int64(_NONE)
                while place < stop - ending:
                    code, width = decode(data, place)
                    within = table[code] & (LETTER | NUMBER) != 0
                    size = 0 if within else _infix(data, place, stop, before, table, signs)
                    if size:
                        found = put_word(data, piece, place, table, hashes, characters, flags, found)
                        found = put_word(data, place, place + size, table, hashes, characters, flags, found)
                        piece = place + size
                    place, before = place + max(size, width), code
                found = put_word(data, piece, stop - ending, table, hashes, characters, flags, found)
                found = put_word(data, stop - ending, stop, table, hashes, characters, flags, found)
            for sign in range(signs_taken - 1, -1, -1):
                end = taken[sign - 1] if sign else at
                found = put_word(data, taken[sign], end, table, hashes, characters, flags, found)
        bounds[document + 1] = found
    return hashes[:found], characters[:found], flags[:found], bounds


@cache
def _sign_table() -> np.ndarray:
    """uint8 [65,536]: the kind of sign that a character is at an end of a word."""
    table = np.zeros(0x10000, dtype=np.uint8)
    for kind, characters in _SIGNS.items():
        table[[ord(character) for character in characters]] |= kind
    return table


@cache
def _hashes(words: str) -> np.ndarray:
    data, offsets = to_texts(pl.Series(words.split()))
    return np.sort([hash_bytes(data, start, stop) for start, stop in pairwise(offsets)])


def english_words(texts: Texts) -> Words:
    """All words of ``texts``."""
    lists = (_hashes(_UNITS), _hashes(_WHOLE), _hashes(_ENDINGS))
    return Words(*_words(texts.data, texts.offsets, character_table(), _sign_table(), *lists))
