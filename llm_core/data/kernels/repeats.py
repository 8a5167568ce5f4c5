"""Repeated n-grams of words, as in Gopher's repetition rules (Rae et al., 2021, table A1)."""

import numpy as np

from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import Words

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)

_PRIME = np.uint64(0x9E3779B97F4A7C15)
_BITS = 64


@kernel
def _repeats(hashes, lengths, bounds):  # type: ignore[no-untyped-def]
    """int64 [9, n]: characters of the most frequent 2-, 3-, 4-gram, and of duplicate 5- to 10-grams.

    An n-gram can occur twice only if its first n - 1 words do. So each size looks only at the places where the size
    before found repeats (``places``). The time is linear in the number of words.
    """
    documents = len(bounds) - 1
    found = np.zeros((9, documents), dtype=np.int64)
    longest = 0
    for document in range(documents):
        longest = max(longest, bounds[document + 1] - bounds[document])
    bits = 4
    while 1 << bits < 2 * longest:
        bits += 1
    keys = np.empty(1 << bits, dtype=np.uint64)
    counts = np.zeros(1 << bits, dtype=np.int32)
    grams = np.empty(longest, dtype=np.uint64)
    places = np.empty(longest, dtype=np.int64)
    slots = np.empty(longest, dtype=np.int64)
    ends = np.zeros(longest + 1, dtype=np.int64)
    for document in range(documents):
        base = bounds[document]
        words = bounds[document + 1] - base
        for word in range(words):
            grams[word] = hashes[base + word]
            places[word] = word
            ends[word + 1] = ends[word] + lengths[base + word]
        active = words
        for size in range(2, 11):
            active = _extended(hashes, base, words, size, grams, places, active)
            table_bits = _count(grams, places, active, keys, counts, slots)
            if size <= 4:
                found[size - 2, document] = _most_frequent(ends, words, size, places, active, counts, slots)
            else:
                found[size - 2, document] = _duplicates(ends, size, places, active, counts, slots)
            kept = 0
            for index in range(active):
                if counts[slots[index]] != 1:
                    places[kept] = places[index]
                    kept += 1
            active = kept
            counts[: 1 << table_bits] = 0
    return found


@kernel
def _extended(hashes, base, words, size, grams, places, active):  # type: ignore[no-untyped-def]
    """Extend the grams at ``places[:active]`` by one word. Returns the number of places where there is such a word."""
    kept = 0
    for index in range(active):
        place = places[index]
        if place + size <= words:
            grams[place] = (grams[place] * _PRIME) ^ hashes[base + place + size - 1]
            places[kept] = place
            kept += 1
    return kept


@kernel
def _count(grams, places, active, keys, counts, slots):  # type: ignore[no-untyped-def]
    """Count equal grams by open addressing; ``slots[i]`` is the slot that counts the gram at ``places[i]``.

    ``counts`` must be zero. Returns the size of the table used, as a power of two.
    """
    bits = 4
    while 1 << bits < 2 * active:
        bits += 1
    shift = np.uint64(_BITS - bits)
    mask = (1 << bits) - 1
    for index in range(active):
        key = grams[places[index]]
        slot = np.int64((key * _PRIME) >> shift)
        while counts[slot] and keys[slot] != key:
            slot = (slot + 1) & mask
        keys[slot] = key
        counts[slot] += 1
        slots[index] = slot
    return bits


@kernel
def _most_frequent(ends, words, size, places, active, counts, slots):  # type: ignore[no-untyped-def]
    """Characters of the most frequent n-gram (with spaces between its words) times its count; ties: the first. 0 for a
    text with fewer words.
    """
    if words < size:
        return 0
    most, first = 1, 0
    for index in range(active):
        if counts[slots[index]] > most:
            most, first = counts[slots[index]], places[index]
    return most * (ends[first + size] - ends[first] + size - 1)


@kernel
def _duplicates(ends, size, places, active, counts, slots):  # type: ignore[no-untyped-def]
    """Characters of n-grams that occurred before, from left to right; counted n-grams do not overlap.

    A negative count marks the slot of a gram that was seen.
    """
    characters, free = 0, 0
    for index in range(active):
        place, slot = places[index], slots[index]
        if place < free or counts[slot] == 1:
            continue
        if counts[slot] < 0:
            characters += ends[place + size] - ends[place]
            free = place + size
        else:
            counts[slot] = -counts[slot]
    return characters


def repeats(words: Words) -> dict[str, np.ndarray]:
    """Per text: ``top_<n>`` for n in ``TOP``, ``duplicate_<n>`` for n in ``DUPLICATE``, in characters (int64 [n])."""
    names = [f"top_{size}" for size in TOP] + [f"duplicate_{size}" for size in DUPLICATE]
    return dict(zip(names, _repeats(words.hashes, words.characters, words.bounds), strict=True))
