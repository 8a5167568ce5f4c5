"""A random order that is computed, not stored: position → row for any epoch, and the inverse, in constant memory."""

from functools import lru_cache
from hashlib import blake2b

import numpy as np

ROUNDS = 8
_CHUNK = 4096
"""Positions whose rows are computed in one call and cached, so that the next batches need no call."""
_HELD = 4
"""Chunks in the cache, of 32 KiB each."""


@lru_cache(maxsize=64)
def _round_keys(seed: int, epoch: int, stream: str) -> tuple[int, ...]:
    name = f"{seed}/{epoch}/{stream}" if stream else f"{seed}/{epoch}"
    digest = blake2b(name.encode(), digest_size=64).digest()
    return tuple(int.from_bytes(digest[8 * number : 8 * number + 8], "little") for number in range(ROUNDS))


def _mix(values: np.ndarray, key: int) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a good hash of 64 bits; products wrap on purpose."""
    mixed = values + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def permuted(positions: np.ndarray, size: int, seed: int, epoch: int, stream: str = "") -> np.ndarray:
    """Where ``positions`` (int64, each in [0, size)) go under the epoch's permutation of ``range(size)``; int64.

    A Feistel network permutes the smallest domain of 4^k values with room for ``size``. A value outside the range is
    permuted again until it is inside (cycle walking: Black and Rogaway, 2002); the result is still a permutation. The
    domain has less than four times as many values as the range, so a value needs fewer than four passes on average.
    ``stream`` is a name: orders with the same seed and different names differ.
    """
    shift, mask = _halves(size)
    keys = _round_keys(seed, epoch, stream)
    values = positions.astype(np.uint64)
    pending = np.arange(len(values))
    while len(pending):
        left, right = values[pending] >> shift, values[pending] & mask
        for key in keys:
            left, right = right, left ^ (_mix(right, key) & mask)
        values[pending] = (left << shift) | right
        pending = pending[values[pending] >= np.uint64(size)]
    return values.astype(np.int64)


def unpermuted(indices: np.ndarray, size: int, seed: int, epoch: int, stream: str = "") -> np.ndarray:
    """The inverse of ``permuted``: the positions that it sends to ``indices``; int64."""
    shift, mask = _halves(size)
    keys = _round_keys(seed, epoch, stream)
    values = indices.astype(np.uint64)
    pending = np.arange(len(values))
    while len(pending):
        left, right = values[pending] >> shift, values[pending] & mask
        for key in reversed(keys):
            left, right = right ^ (_mix(left, key) & mask), left
        values[pending] = (left << shift) | right
        pending = pending[values[pending] >= np.uint64(size)]
    return values.astype(np.int64)


def _halves(size: int) -> tuple[np.uint64, np.uint64]:
    """Bits of half a value of the domain, and the mask of these bits."""
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    return np.uint64(half_bits), np.uint64((1 << half_bits) - 1)


class Order:
    """Position in a run → row of a source of ``size`` rows. Every epoch has all rows, in its own random order."""

    def __init__(self, size: int, seed: int, stream: str = "") -> None:
        self.size, self.seed, self.stream = size, seed, stream
        # One cache per order: with many sources, a common one would drop chunks that are still needed.
        self._held = lru_cache(maxsize=_HELD)(self._chunk)

    def _chunk(self, number: int) -> np.ndarray:
        positions = number * _CHUNK + np.arange(_CHUNK, dtype=np.int64)
        epochs, rows = np.divmod(positions, self.size)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            first, last = np.searchsorted(epochs, (epoch, epoch + 1))
            rows[first:last] = permuted(rows[first:last], self.size, self.seed, epoch, self.stream)
        rows.setflags(write=False)
        return rows

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """The rows at ``positions`` (int64, ascending)."""
        if not len(positions):
            return positions
        first, last = int(positions[0]) // _CHUNK, int(positions[-1]) // _CHUNK
        chunks = [self._held(number) for number in range(first, last + 1)]
        held = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
        found: np.ndarray = held[positions - first * _CHUNK]
        return found

    def positions(self, rows: np.ndarray, before: int) -> np.ndarray:
        """All positions below ``before`` at which one of ``rows`` stands, ascending."""
        epochs = range(-(-before // self.size))
        found = [unpermuted(rows, self.size, self.seed, epoch, self.stream) + epoch * self.size for epoch in epochs]
        every = np.sort(np.concatenate([np.empty(0, dtype=np.int64), *found]))
        return every[every < before]
