"""Finds texts with numbers that are joined by dots, as addresses and versions are."""

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.compiled import kernel

_ZERO, _NINE, _DOT = 48, 57, 46


@kernel
def _dotted(data, offsets, least):  # type: ignore[no-untyped-def]
    found = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for text in range(len(offsets) - 1):
        first, last = offsets[text] + 1, offsets[text + 1] - 1
        numbers, dot = 1, -1  # of the run that ended at the number after the dot before
        for at in range(first, last):
            if data[at] != _DOT or not (_ZERO <= data[at - 1] <= _NINE and _ZERO <= data[at + 1] <= _NINE):
                continue
            start = at - 1
            while start >= first and _ZERO <= data[start - 1] <= _NINE:
                start -= 1
            numbers = numbers + 1 if start - 1 == dot else 2
            dot = at
            if numbers >= least:
                found[text] = True
                break
    return found


def dotted(texts: Texts, least: int) -> np.ndarray:
    """bool [n]: whether a text holds at least ``least`` (2 or more) ASCII numbers in a row with single dots between."""
    found: np.ndarray = _dotted(texts.data, texts.offsets, least)
    return found
