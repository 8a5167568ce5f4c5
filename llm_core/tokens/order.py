"""A random order that is computed, not stored: position → window, for any epoch, in constant memory."""

from functools import lru_cache
from hashlib import blake2b

import numpy as np

ROUNDS = 8


@lru_cache(maxsize=16)
def _round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    digest = blake2b(f"{seed}/{epoch}".encode(), digest_size=64).digest()
    return tuple(int.from_bytes(digest[8 * number : 8 * number + 8], "little") for number in range(ROUNDS))


def _mix(values: np.ndarray, key: int) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a good hash of 64 bits; products wrap on purpose."""
    mixed = values + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def permuted(positions: np.ndarray, size: int, seed: int, epoch: int) -> np.ndarray:
    """Where ``positions`` (int64, each in [0, size)) go under the epoch's permutation of ``range(size)``; int64.

    A Feistel network permutes the smallest domain of 4^k values that holds ``size``; values that leave the range are
    sent through again until they are back in it (cycle walking: Black and Rogaway, 2002), which keeps it a permutation.
    The domain is less than four times the range, so four passes are what it takes on average at worst.
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    keys = _round_keys(seed, epoch)
    values = positions.astype(np.uint64)
    pending = np.arange(len(values))
    while len(pending):
        left, right = values[pending] >> shift, values[pending] & mask
        for key in keys:
            left, right = right, left ^ (_mix(right, key) & mask)
        values[pending] = (left << shift) | right
        pending = pending[values[pending] >= np.uint64(size)]
    return values.astype(np.int64)
