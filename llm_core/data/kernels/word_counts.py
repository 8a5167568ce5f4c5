"""Counts of words per text."""

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.characters import LETTER, SPACE, WORD, character_table, decode
from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import Words


@kernel
def _word_counts(hashes, characters, flags, bounds, listed):  # type: ignore[no-untyped-def]
    documents = len(bounds) - 1
    counts = np.zeros((5, documents), dtype=np.int64)
    seen = np.zeros(len(listed), dtype=np.bool_)
    for document in range(documents):
        seen[:] = False
        for word in range(bounds[document], bounds[document + 1]):
            if flags[word] & WORD:
                counts[1, document] += 1
                counts[2, document] += characters[word]
            if flags[word] & LETTER:
                counts[3, document] += 1
            for index in range(len(listed)):
                if hashes[word] == listed[index]:
                    seen[index] = True
        counts[0, document] = bounds[document + 1] - bounds[document]
        counts[4, document] = seen.sum()
    return counts


def word_counts(words: Words, listed: np.ndarray) -> dict[str, np.ndarray]:
    """Counts per text (int64 [n]): all ``words``; ``plain_words``, which are not signs only, and their characters
    (``plain_characters``); ``alphabetic_words``, which have a letter; ``listed_words``: how many of the words in
    ``listed`` (hashes) occur.
    """
    names = ("words", "plain_words", "plain_characters", "alphabetic_words", "listed_words")
    return dict(zip(names, _word_counts(*words, listed), strict=True))


@kernel
def _run_lengths(data, offsets, table):  # type: ignore[no-untyped-def]
    texts = len(offsets) - 1
    counts = np.zeros((2, texts), dtype=np.int64)
    for text in range(texts):
        at, stop, length = offsets[text], offsets[text + 1], 0
        while at < stop:
            code, width = decode(data, at)
            at += width
            if table[code] & SPACE:
                length = 0
                continue
            length += 1
            if length == 1:
                counts[0, text] += 1
            if length > counts[1, text]:
                counts[1, text] = length
    return counts


def run_lengths(texts: Texts) -> dict[str, np.ndarray]:
    """Per text (int64 [n]): the number of its runs without white space (``runs``), and the characters of the longest
    one (``longest``).
    """
    found, longest = _run_lengths(texts.data, texts.offsets, character_table())
    return {"runs": found, "longest": longest}
