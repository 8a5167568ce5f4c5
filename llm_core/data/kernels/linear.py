"""Logistic regression over the hashed words and word pairs of a text.

A feature counts once per text, however often it occurs, so repetition does not change a text's score. With ``n``
features, a text's vector has ``n`` entries of 1/√n: its length is 1. Published filters of this kind: hashed words
(Brown et al., 2020), fastText with words and pairs (Li et al., 2024, DCLM).
"""

import math

import numpy as np

from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import mix

_BASE = np.uint64(0xD1342543DE82EF95)
_BIAS_RATE = 0.1  # a smaller rate for the bias, because every example changes it


@kernel
def features(hashes, bounds, bits):  # type: ignore[no-untyped-def]
    """(uint32 [f], features of all texts; int64 [n + 1], where each text's features start), from ``words.Words``.

    Features are below 2^``bits``, in the order of their first occurrence in the text.
    """
    texts = len(bounds) - 1
    shift = np.uint64(64 - bits)
    seen = np.full(1 << bits, -1, dtype=np.int32)  # the last text that had the feature
    found = np.empty(2 * len(hashes), dtype=np.uint32)
    starts = np.zeros(texts + 1, dtype=np.int64)
    count = 0
    for text in range(texts):
        first, stop = bounds[text], bounds[text + 1]
        for word in range(first, stop):
            feature = hashes[word] >> shift
            if seen[feature] != text:
                seen[feature] = text
                found[count] = feature
                count += 1
            if word + 1 < stop:
                feature = mix(hashes[word] * _BASE + hashes[word + 1]) >> shift
                if seen[feature] != text:
                    seen[feature] = text
                    found[count] = feature
                    count += 1
        starts[text + 1] = count
    return found[:count], starts


@kernel
def _score(found, first, stop, weights, bias):  # type: ignore[no-untyped-def]
    total = 0.0
    for place in range(first, stop):
        total += weights[found[place]]
    return 1.0 / (1.0 + math.exp(-(total / math.sqrt(max(1, stop - first)) + bias)))


@kernel
def scores(found, starts, weights, bias):  # type: ignore[no-untyped-def]
    """float64 [n]: the probability of the class 1 for every text."""
    texts = len(starts) - 1
    result = np.empty(texts, dtype=np.float64)
    for text in range(texts):
        result[text] = _score(found, starts[text], starts[text + 1], weights, bias)
    return result


@kernel
def train(found, starts, targets, importance, order, bits, rate):  # type: ignore[no-untyped-def]
    """(float32 [2^bits] weights, bias) after a gradient step for every text in ``order`` (int64 [epochs * n]).

    ``targets``: 0 or 1; ``importance``: the weight of a text's gradient. The rate falls linearly from ``rate`` to 0.
    """
    weights = np.zeros(1 << bits, dtype=np.float32)
    bias = 0.0
    for step in range(len(order)):
        text = order[step]
        first, stop = starts[text], starts[text + 1]
        if first == stop:
            continue
        error = (_score(found, first, stop, weights, bias) - targets[text]) * importance[text]
        move = rate * (1.0 - step / len(order)) * error
        bias -= _BIAS_RATE * move
        move = np.float32(move / math.sqrt(stop - first))
        for place in range(first, stop):
            weights[found[place]] -= move
    return weights, bias
