"""Classification of short texts by a quantised fastText model (Joulin et al., 2016), over a whole column at once.

The arithmetic is fastText's: the mean of the vectors of a text's known words and n-grams of characters, and a path
through a binary tree of logistic decisions. The loop is ours: calling the library text by text takes three times as
long.
"""

import math
from typing import NamedTuple

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.compiled import kernel

_FNV_BASIS, _FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
_SIGN = np.uint32(0xFFFFFF00)
_BEGIN, _END = np.uint8(60), np.uint8(62)  # < and > around a word
_TINY = 1e-5


class Model(NamedTuple):
    """``vectors``: float32 [words + n-grams, dimensions]. ``word_slots``: int32 [2^k], open addressing from the hash of
    a word to its row, -1 where free; ``word_data``, ``word_offsets``: the words by row (as in ``buffers.Texts``).
    ``gram_rows``: int32 [buckets], row of an n-gram's vector or -1. ``nodes``: float32 [labels - 1, dimensions], the
    decisions; ``left``, ``right``: int32 [2 labels - 1], the tree (a leaf is its label's number). ``end``: row of the
    end of a text. ``shortest``, ``longest``: characters of n-grams.
    """

    vectors: np.ndarray
    word_slots: np.ndarray
    word_data: np.ndarray
    word_offsets: np.ndarray
    gram_rows: np.ndarray
    nodes: np.ndarray
    left: np.ndarray
    right: np.ndarray
    end: int
    shortest: int
    longest: int


@kernel
def _hashed(value, byte):  # type: ignore[no-untyped-def]
    """One step of FNV-1a over signed bytes, as fastText has it."""
    signed = np.uint32(byte) | _SIGN if byte >= 0x80 else np.uint32(byte)
    return np.uint32((value ^ signed) * _FNV_PRIME)


@kernel
def _add(total, vectors, row):  # type: ignore[no-untyped-def]
    for dimension in range(len(total)):
        total[dimension] += vectors[row, dimension]


@kernel
def _is_word(word, size, model, row):  # type: ignore[no-untyped-def]
    start, stop = model.word_offsets[row], model.word_offsets[row + 1]
    if stop - start != size - 2:
        return False
    same = True
    for at in range(start, stop):
        same = same and model.word_data[at] == word[at - start + 1]
    return same


@kernel
def _add_word(total, word, size, model):  # type: ignore[no-untyped-def]
    """Add the vectors of ``word[1 : size - 1]`` (its bytes stand between < and >) and of its n-grams; how many."""
    value = _FNV_BASIS
    for at in range(1, size - 1):
        value = _hashed(value, word[at])
    mask = len(model.word_slots) - 1
    slot, added = np.int64(value) & mask, 0
    while model.word_slots[slot] >= 0:
        row = model.word_slots[slot]
        if _is_word(word, size, model, row):
            _add(total, model.vectors, row)
            added += 1
            break
        slot = (slot + 1) & mask
    for start in range(size):
        if word[start] & 0xC0 == 0x80:
            continue
        value, at, characters = _FNV_BASIS, start, 1
        while at < size and characters <= model.longest:
            value = _hashed(value, word[at])
            at += 1
            while at < size and word[at] & 0xC0 == 0x80:
                value = _hashed(value, word[at])
                at += 1
            if characters >= model.shortest:
                row = model.gram_rows[np.int64(value) % len(model.gram_rows)]
                if row >= 0:
                    _add(total, model.vectors, row)
                    added += 1
            characters += 1
    return added


@kernel
def _best(hidden, model, stack, scores):  # type: ignore[no-untyped-def]
    """(label, log of its probability) with the highest probability; whole branches that can't win are left out."""
    labels = len(model.nodes) + 1
    best, highest = 0, -np.inf
    stack[0], scores[0], depth = 2 * labels - 2, 0.0, 1
    while depth:
        depth -= 1
        node, score = stack[depth], scores[depth]
        if score <= highest:
            continue
        if node < labels:
            best, highest = node, score
            continue
        product = 0.0
        for dimension in range(len(hidden)):
            product += hidden[dimension] * model.nodes[node - labels, dimension]
        chance = 1.0 / (1.0 + math.exp(-product))
        stack[depth], scores[depth] = model.right[node], score + math.log(chance + _TINY)
        stack[depth + 1], scores[depth + 1] = model.left[node], score + math.log(1.0 - chance + _TINY)
        depth += 2
    return best, highest


@kernel
def _classify(data, offsets, limit, model):  # type: ignore[no-untyped-def]
    texts = len(offsets) - 1
    labels, logs = np.empty(texts, dtype=np.int32), np.empty(texts, dtype=np.float64)
    total = np.zeros(model.vectors.shape[1], dtype=np.float32)
    hidden = np.zeros(model.vectors.shape[1], dtype=np.float64)
    word = np.empty(4 * limit + 2, dtype=np.uint8)
    word[0] = _BEGIN
    stack, scores = np.empty(2 * len(model.left), dtype=np.int64), np.empty(2 * len(model.left), dtype=np.float64)
    for text in range(texts):
        total[:] = 0
        added, characters, size = 0, 0, 1
        for at in range(offsets[text], offsets[text + 1]):
            byte = data[at]
            if byte & 0xC0 != 0x80:
                if characters == limit:
                    break
                characters += 1
            if byte == 32 or 9 <= byte <= 13 or byte == 0:
                if size > 1:
                    word[size] = _END
                    added += _add_word(total, word, size + 1, model)
                    size = 1
            else:
                word[size] = byte
                size += 1
        if size > 1:
            word[size] = _END
            added += _add_word(total, word, size + 1, model)
        _add(total, model.vectors, model.end)
        for dimension in range(len(total)):
            hidden[dimension] = total[dimension] / (added + 1)
        labels[text], logs[text] = _best(hidden, model, stack, scores)
    return labels, logs


def classify(texts: Texts, model: Model, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """(int32 [n], number of the likeliest label; float64 [n], log of its probability), judged by the first ``limit``
    characters of every text.
    """
    labels, logs = _classify(texts.data, texts.offsets, limit, model)
    return labels, logs
