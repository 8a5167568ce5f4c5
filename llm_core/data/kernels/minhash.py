"""MinHash signatures of folded texts (Broder, 1997).

A shingle is ``shingle_words`` consecutive words of the folded text. For each of P permutations of the 32-bit integers,
a signature has the minimum over the permuted hashes of the text's shingles. The share of equal minima in two signatures
estimates the Jaccard similarity J of the texts (shingles in both / shingles in either), with a standard deviation of
√(J (1 - J) / P).
"""

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import hash_bytes, mix

_SPACE = 32
_STEP = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0xD1342543DE82EF95)
_HALF = np.uint64(32)
_SEED = np.uint64(0x50656469677265)


@kernel
def _random(seed, count):  # type: ignore[no-untyped-def]
    """``count`` numbers (uint64) that depend on ``seed`` only."""
    numbers = np.empty(count, dtype=np.uint64)
    for index in range(count):
        seed += _STEP
        numbers[index] = mix(seed)
    return numbers


def permutations(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(factors, summands), uint32 [count]: the permutation x → factor · x + summand (mod 2^32), with odd factors."""
    numbers = _random(_SEED, count)
    return (numbers >> _HALF).astype(np.uint32) | np.uint32(1), numbers.astype(np.uint32)


def signatures(folded: Texts, permutation_count: int, shingle_words: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint32 [n, permutations] signatures, int64 [n] counts of shingles with repetitions) of folded texts.

    A text of fewer words than a shingle has no shingles, and only values of 2^32 - 1 in its signature.
    """
    factors, summands = permutations(permutation_count)
    found = np.full((len(folded.offsets) - 1, permutation_count), 0xFFFFFFFF, dtype=np.uint32)
    counts = _signatures(folded.data, folded.offsets, shingle_words, factors, summands, found)
    return found, counts


@kernel
def _signatures(data, offsets, shingle_words, factors, summands, found):  # type: ignore[no-untyped-def]
    counts = np.zeros(len(offsets) - 1, dtype=np.int64)
    window = np.zeros(shingle_words, dtype=np.uint64)
    leaving = np.uint64(1)
    for _ in range(shingle_words):
        leaving *= _BASE
    for text in range(len(counts)):
        at, stop = offsets[text], offsets[text + 1]
        window[:] = 0
        words, place, rolled = 0, 0, np.uint64(0)
        signature = found[text]
        while at < stop:
            start = at
            while at < stop and data[at] != _SPACE:
                at += 1
            word = hash_bytes(data, start, at)
            at += 1
            rolled = rolled * _BASE + word - window[place] * leaving
            window[place] = word
            place = place + 1 if place + 1 < shingle_words else 0
            words += 1
            if words >= shingle_words:
                _lower(signature, np.uint32(mix(rolled) >> _HALF), factors, summands)
        counts[text] = max(0, words - shingle_words + 1)
    return counts


@kernel
def _lower(signature, shingle, factors, summands):  # type: ignore[no-untyped-def]
    for index in range(len(signature)):
        value = np.uint32(factors[index] * shingle + summands[index])
        signature[index] = min(signature[index], value)
