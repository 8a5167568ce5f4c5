"""Finds known runs of words in texts: the hash of the run at every word is looked up."""

import numpy as np

from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import hash_bytes, mix

_SPACE = 32
_BASE = np.uint64(0xD1342543DE82EF95)
_BYTE, _BIT, _ONE = np.uint64(3), np.uint64(7), np.uint64(1)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SPARSE_BITS = 5  # the filter has at least 2^5 bits for every hash: one in 32 unknown runs is looked up in vain


@kernel
def _power(length):  # type: ignore[no-untyped-def]
    power = np.uint64(1)
    for _ in range(length):
        power *= _BASE
    return power


@kernel
def word_counts(data, offsets):  # type: ignore[no-untyped-def]
    """int64 [n]: the number of words in folded texts, whose words are separated by single spaces."""
    counts = np.zeros(len(offsets) - 1, dtype=np.int64)
    for text in range(len(counts)):
        if offsets[text] < offsets[text + 1]:
            counts[text] = 1
        for at in range(offsets[text], offsets[text + 1]):
            counts[text] += data[at] == _SPACE
    return counts


@kernel
def run_hashes(data, offsets, lengths, starts):  # type: ignore[no-untyped-def]
    """uint64 [starts[-1]]: hashes of all runs of ``lengths[i]`` words in folded text ``i``, from ``starts[i]`` on."""
    hashes = np.empty(starts[-1], dtype=np.uint64)
    for text in range(len(lengths)):
        length = lengths[text]
        if starts[text] == starts[text + 1]:
            continue
        power = _power(length)
        prefixes = np.zeros(length + 1, dtype=np.uint64)
        at, stop, words, prefix = offsets[text], offsets[text + 1], 0, np.uint64(0)
        while at < stop:
            start = at
            while at < stop and data[at] != _SPACE:
                at += 1
            prefix = prefix * _BASE + hash_bytes(data, start, at)
            at += 1
            words += 1
            prefixes[words % (length + 1)] = prefix
            if words >= length:
                before = prefixes[(words - length) % (length + 1)]
                hashes[starts[text] + words - length] = _run_hash(prefix, before, power, length)
    return hashes


@kernel
def _run_hash(prefix, before, power, length):  # type: ignore[no-untyped-def]
    return mix(prefix - before * power + _STEP * np.uint64(length))


def sparse_filter(hashes: np.ndarray) -> np.ndarray:
    """uint8 [2^k / 8]: a filter with a bit per value of the upper k bits, set for each of ``hashes``."""
    bits = max(10, len(hashes).bit_length() + _SPARSE_BITS)
    places = hashes >> np.uint64(64 - bits)
    found = np.zeros(1 << (bits - 3), dtype=np.uint8)
    np.bitwise_or.at(found, places >> np.uint64(3), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8))
    return found


def filter_shift(bits: np.ndarray) -> np.uint64:
    """64 - k for a ``sparse_filter`` of 2^k bits: a hash shifted by this is the number of its bit."""
    return np.uint64(65 - (8 * len(bits)).bit_length())


@kernel
def find_items(  # type: ignore[no-untyped-def]
    data, offsets, least, most, bits, shift, hashes, starts, fulls, items, lengths, totals, needed, seen
):
    """(int64 [n], float64 [n], bool [items]): for every folded text, the item with the largest share of its runs in the
    text (ties: the first; -1: none has enough), that share, and which items are in any text.

    The runs of an item have ``lengths`` words: ``most``, or fewer but at least ``least``. They are looked up by
    ``hashes`` (uint64, ascending, distinct, with their ``sparse_filter``: ``bits``, ``shift``): the hash of the run, or
    of its last ``least`` words if it is shorter than ``most``. The runs ``starts[h] : starts[h + 1]`` have hash number
    ``h``; ``fulls`` are the hashes of all of their words, ``items`` their items. An item has ``totals`` different runs;
    a text contains it if at least ``needed`` of them are in the text. A run counts once, however often it occurs.
    ``seen``: int64 zeros, one per run. numpy allocates them without touching the memory, and few pages are used.
    """
    documents = len(offsets) - 1
    best = np.full(documents, -1, dtype=np.int64)
    share = np.zeros(documents, dtype=np.float64)
    held = np.zeros(len(totals), dtype=np.bool_)
    powers = np.array([_power(length) for length in range(most + 1)])
    longest = 0
    for words in word_counts(data, offsets):
        longest = max(longest, words)
    prefixes = np.zeros(longest + 1, dtype=np.uint64)  # of all words up to this one
    counted = np.full(len(totals), -1, dtype=np.int64)  # the last document with a run of the item
    counts = np.zeros(len(totals), dtype=np.int64)
    touched = np.empty(len(totals), dtype=np.int64)
    for document in range(documents):
        at, stop, words, touches = offsets[document], offsets[document + 1], 0, 0
        while at < stop:
            start = at
            while at < stop and data[at] != _SPACE:
                at += 1
            prefixes[words + 1] = prefixes[words] * _BASE + hash_bytes(data, start, at)
            at += 1
            words += 1
        # A separate loop: its memory accesses are slow but independent, so the processor overlaps them.
        for last in range(least, words + 1):
            for probe in (least, most):
                if last < probe:
                    continue
                value = _run_hash(prefixes[last], prefixes[last - probe], powers[probe], probe)
                bit = value >> shift
                if not np.uint64(bits[bit >> _BYTE]) >> (bit & _BIT) & _ONE:
                    continue
                slot = np.searchsorted(hashes, value)
                if slot == len(hashes) or hashes[slot] != value:
                    continue
                if probe == most and seen[starts[slot]] == document + 1:
                    continue  # all items with this run; a prompt may be shared by ten thousand items
                for entry in range(starts[slot], starts[slot + 1]):
                    item = items[entry]
                    length = lengths[item]
                    if seen[entry] == document + 1 or last < length:
                        continue
                    if fulls[entry] != _run_hash(prefixes[last], prefixes[last - length], powers[length], length):
                        continue
                    seen[entry] = document + 1  # the last document with the run
                    if counted[item] != document:
                        counted[item], counts[item] = document, 0
                        touched[touches] = item
                        touches += 1
                    counts[item] += 1
        for index in range(touches):
            item = touched[index]
            if counts[item] >= needed[item]:
                held[item] = True
                found = counts[item] / totals[item]
                if found > share[document] or (found == share[document] and item < best[document]):
                    best[document], share[document] = item, found
    return best, share, held
