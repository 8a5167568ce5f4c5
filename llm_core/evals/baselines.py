"""Baselines without a neural network on the same text: token frequencies, a compressor, and shared trigrams.

Scores of whole documents are bits per byte of their UTF-8 text. The end of a document costs nothing in any of them: the
model and the token frequencies do not count the bits of the end-of-text token (although both give it probability), and
the compressor reads the documents joined without a separator.
"""

import lzma
import math
from collections.abc import Sequence, Set

import numpy as np

from llm_core.tokens.reader import ShardReader

CHUNK = 1 << 24
LETTERS = 3


def token_counts(reader: ShardReader) -> np.ndarray:
    """Occurrences of every id of the vocabulary in a split; int64 of shape (vocab_size,)."""
    counts = np.zeros(reader.vocab_size, dtype=np.int64)
    for start in range(0, reader.tokens, CHUNK):
        tokens = reader.read(start, min(start + CHUNK, reader.tokens))
        counts += np.bincount(tokens, minlength=reader.vocab_size)
    return counts


def unigram_bits(counts: np.ndarray, documents: Sequence[Sequence[int]]) -> list[float]:
    """Bits of every document (a sequence of token ids) under p(id) = (count + 1) / (all counts + vocabulary)."""
    bits = math.log2(int(counts.sum()) + counts.size) - np.log2(counts.astype(np.float64) + 1.0)
    return [float(bits[np.asarray(ids, dtype=np.int64)].sum()) for ids in documents]


def xz_bits(texts: Sequence[str]) -> int:
    """Bits of all texts in one .xz file (``xz -9e``). It learns only from the text that it has already compressed."""
    return 8 * len(lzma.compress("".join(texts).encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))


def trigrams(text: str) -> frozenset[str]:
    """All sequences of three characters in ``text``."""
    return frozenset(text[start : start + LETTERS] for start in range(len(text) - LETTERS + 1))


def overlap(context: Set[str], choice: Set[str]) -> float:
    """Share of a choice's trigrams that are also in the context, from 0 to 1."""
    return len(choice & context) / max(len(choice), 1)


def overlap_pick(context: str, choices: Sequence[str]) -> int:
    """The index of the choice that shares most trigrams with ``context``: an answer without a model."""
    seen = trigrams(context)
    shares = [overlap(seen, trigrams(choice)) for choice in choices]
    return shares.index(max(shares))
