"""Hashes of the lines or paragraphs of texts."""

import numpy as np

from llm_core.data.kernels.characters import is_space
from llm_core.data.kernels.compiled import kernel
from llm_core.data.kernels.words import hash_bytes

_NEWLINE = 10


@kernel
def unit_hashes(data, offsets, newlines, least):  # type: ignore[no-untyped-def]
    """(uint64, uint32, uint32): hash, text and number in its text, for every unit of ``least`` bytes or more.

    Units end at ``newlines`` line feeds in a row (1: lines, 2: paragraphs), as ``str.split`` cuts them. ASCII white
    space at their ends does not count.
    """
    most = (offsets[-1] - offsets[0]) // max(1, least) + 1
    hashes = np.empty(most, dtype=np.uint64)
    texts = np.empty(most, dtype=np.uint32)
    numbers = np.empty(most, dtype=np.uint32)
    found = 0
    for text in range(len(offsets) - 1):
        start, stop, number = offsets[text], offsets[text + 1], 0
        while start <= stop:
            end = start
            while end < stop and not _ends_here(data, end, stop, newlines):
                end += 1
            first, last = start, end
            while first < last and is_space(data[first]):
                first += 1
            while last > first and is_space(data[last - 1]):
                last -= 1
            if last - first >= least:
                hashes[found], texts[found], numbers[found] = hash_bytes(data, first, last), text, number
                found += 1
            number += 1
            start = end + newlines if end < stop else stop + 1
    return hashes[:found], texts[:found], numbers[:found]


@kernel
def _ends_here(data, at, stop, newlines):  # type: ignore[no-untyped-def]
    count = 0
    while count < newlines and at + count < stop and data[at + count] == _NEWLINE:
        count += 1
    return count == newlines
