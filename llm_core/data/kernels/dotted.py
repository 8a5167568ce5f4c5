"""Finds texts with numbers that are joined by dots, as addresses and versions are."""

import numpy as np

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.compiled import kernel

_ZERO, _NINE, _DOT = 48, 57, 46


@kernel
def _dotted(data, offsets, least):  # type: ignore[no-untyped-def]
    found = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for text in range(len(offsets) - 1):
        numbers, before = 0, 0  # a number counts with its first digit
        for at in range(offsets[text], offsets[text + 1]):
            byte = data[at]
            if _ZERO <= byte <= _NINE:
                if not _ZERO <= before <= _NINE:
                    numbers = numbers + 1 if before == _DOT else 1
                    if numbers >= least:
                        found[text] = True
                        break
            elif byte != _DOT or before == _DOT:
                numbers = 0
            before = byte
    return found


def dotted(texts: Texts, least: int) -> np.ndarray:
    """bool [n]: whether a text holds at least ``least`` ASCII numbers in a row with one dot between them."""
    found: np.ndarray = _dotted(texts.data, texts.offsets, least)
    return found
