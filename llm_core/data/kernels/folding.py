"""Folds a column of texts (``llm_core.data.folded_text.folded``) with a table.

Nearly every character folds to the same letters in any context: these are looked up. A character whose folding depends
on its neighbours (a combining mark, a Hangul letter) makes the stretch between two ASCII white spaces *hard*. Folding
never reaches across such a space, so only hard stretches need the general code.
"""

import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import polars as pl

from llm_core.data.folded_text import folded, folded_words
from llm_core.data.kernels.buffers import Texts, to_texts
from llm_core.data.kernels.characters import decode, is_space
from llm_core.data.kernels.compiled import kernel

LIMIT = 0x20000
"""Code points below this are in the table: the first two planes. All others are hard."""

_GROWTH = 3  # a character whose form takes more than so many times its own bytes is hard
_HARD = -1
_SPACE = 32
_ASCII = 0x80


class _Forms(NamedTuple):
    """Forms of code points. ``first`` (int32 [LIMIT]): the start in ``letters`` (uint8), or ``_HARD``; ``sizes``."""

    first: np.ndarray
    sizes: np.ndarray
    letters: np.ndarray


@cache
def _forms() -> _Forms:
    """The form of every character that folds by itself, made by the general code."""
    codes = [code for code in range(LIMIT) if not 0xD800 <= code < 0xE000 and unicodedata.category(chr(code)) != "Cn"]
    between = pl.DataFrame({"text": [f"x{chr(code)}x" for code in codes]}).select(folded_words())["text"].to_list()
    first = np.full(LIMIT, _HARD, dtype=np.int32)
    sizes = np.zeros(LIMIT, dtype=np.uint8)
    letters = bytearray()
    for code, form in zip(codes, between, strict=True):
        inner = form[1:-1]
        encoded = inner.encode()
        if _stands_alone(code, inner) and len(encoded) <= _GROWTH * len(chr(code).encode()):
            first[code], sizes[code] = len(letters), len(encoded)
            letters += encoded
    return _Forms(first, sizes, np.frombuffer(bytes(letters), dtype=np.uint8))


def _stands_alone(code: int, form: str) -> bool:
    """Whether no character before it can join with it. Marks and the later letters of a Hangul syllable can."""
    character = chr(code)
    heads = {character, form[:1], unicodedata.normalize("NFKD", character)[:1]}
    return not any(unicodedata.category(head).startswith("M") or 0x1160 <= ord(head) < 0x1200 for head in heads if head)


def fold(texts: pl.Series) -> Texts:
    """The folded form of every text (String, no nulls) in UTF-8: the same bytes as of ``folded_text.folded``."""
    data, offsets = to_texts(texts)
    forms = _forms()
    starts, stops = _hard_stretches(data, offsets, forms.first)
    hard = to_texts(_general(data, starts, stops))
    out = np.empty(_GROWTH * len(data) + len(hard.data) + len(starts), dtype=np.uint8)
    ends = _fold(data, offsets, *forms, starts, stops, *hard, out)
    if (ends[1:] == ends[:-1]).any():  # texts without letters, digits and marks
        return _with_symbol_texts(texts, out, ends)
    return Texts(out[: ends[-1]], ends)


def _general(data: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> pl.Series:
    pieces = [data[start:stop].tobytes() for start, stop in zip(starts.tolist(), stops.tolist(), strict=True)]
    texts = pl.Series("text", pieces, dtype=pl.Binary).cast(pl.String)
    return texts.to_frame().select(folded_words())["text"]


def _with_symbol_texts(texts: pl.Series, out: np.ndarray, ends: np.ndarray) -> Texts:
    """``out``, in which texts that fold to nothing are their own folded form."""
    places = np.flatnonzero(ends[1:] == ends[:-1])
    own = to_texts(texts.gather(places).rename("text").to_frame().select(key=folded())["key"])
    sizes = np.diff(ends)
    sizes[places] = np.diff(own.offsets)
    offsets = np.zeros(len(ends), dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    data = np.empty(offsets[-1], dtype=np.uint8)
    _join(out, ends, own.data, own.offsets, data, offsets)
    return Texts(data, offsets)


@kernel
def _join(data, offsets, others, other_offsets, out, out_offsets):  # type: ignore[no-untyped-def]
    """The texts in ``data``; empty ones are replaced by those of ``others``, in order."""
    other = 0
    for text in range(len(offsets) - 1):
        at = out_offsets[text]
        if offsets[text] == offsets[text + 1]:
            for index in range(other_offsets[other], other_offsets[other + 1]):
                out[at] = others[index]
                at += 1
            other += 1
        else:
            for index in range(offsets[text], offsets[text + 1]):
                out[at] = data[index]
                at += 1


@kernel
def _hard_stretches(data, offsets, first):  # type: ignore[no-untyped-def]
    """(starts, stops), int64: stretches without ASCII white space that have a character outside the table."""
    starts = np.empty(16, dtype=np.int64)
    stops = np.empty(16, dtype=np.int64)
    found = 0
    for text in range(len(offsets) - 1):
        begin, at, stop = offsets[text], offsets[text], offsets[text + 1]
        while at < stop:
            while at < stop and data[at] < _ASCII:
                at += 1
            if at == stop:
                break
            code, width = decode(data, at)
            if code < LIMIT and first[code] != _HARD:
                at += width
                continue
            start = at
            while start > begin and not is_space(data[start - 1]):
                start -= 1
            while at < stop and not is_space(data[at]):
                at += 1
            if found == len(starts):
                starts = np.concatenate((starts, np.empty_like(starts)))
                stops = np.concatenate((stops, np.empty_like(stops)))
            starts[found], stops[found] = start, at
            found += 1
            begin = at
    return starts[:found], stops[:found]


@kernel
def _fold(data, offsets, first, sizes, letters, starts, stops, hard, hard_offsets, out):  # type: ignore[no-untyped-def]
    """Write the folded texts one after another. Returns int64 [n + 1]: 0, then the end of each text."""
    plain = np.empty(_ASCII, dtype=np.uint8)
    for code in range(_ASCII):
        plain[code] = letters[first[code]]
    ends = np.zeros(len(offsets), dtype=np.int64)
    stretch, end = 0, 0
    for text in range(len(offsets) - 1):
        begin, at = end, offsets[text]
        while at < offsets[text + 1]:
            if stretch < len(starts) and at == starts[stretch]:
                at = stops[stretch]
                end = _append(hard, hard_offsets[stretch], hard_offsets[stretch + 1], out, begin, end)
                stretch += 1
            stop = min(starts[stretch] if stretch < len(starts) else len(data), offsets[text + 1])
            while at < stop:
                if data[at] < _ASCII:
                    byte = plain[data[at]]
                    at += 1
                    # Several spaces become one; none is kept at the beginning.
                    if byte != _SPACE or (end > begin and out[end - 1] != _SPACE):
                        out[end] = byte
                        end += 1
                else:
                    code, width = decode(data, at)
                    at += width
                    end = _append(letters, first[code], first[code] + sizes[code], out, begin, end)
        if end > begin and out[end - 1] == _SPACE:
            end -= 1
        ends[text + 1] = end
    return ends


@kernel
def _append(source, start, stop, out, begin, end):  # type: ignore[no-untyped-def]
    """Append ``source[start:stop]`` to the text in ``out[begin:end]``. Returns its new end."""
    for index in range(start, stop):
        byte = source[index]
        if byte != _SPACE or (end > begin and out[end - 1] != _SPACE):
            out[end] = byte
            end += 1
    return end
