"""Learning the merges of byte-pair encoding (Sennrich et al., 2016): merge the most frequent pair, again and again.

Every pair has a list of its positions in the pieces of text. So the time of a merge grows with the number of positions
that it changes, and not with the length of the pieces.
"""

import numpy as np

from llm_core.data.kernels.compiled import kernel


@kernel
def find(keys, key):  # type: ignore[no-untyped-def]
    """The place of ``key`` in the open-addressing table ``keys`` (-1: free), or the free place where it belongs."""
    mask = len(keys) - 1
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    place = np.int64(mixed >> np.uint64(32)) & mask
    while keys[place] != -1 and keys[place] != key:
        place = (place + 1) & mask
    return place


@kernel
def doubled(array):  # type: ignore[no-untyped-def]
    """A copy with twice the room."""
    larger = np.empty(2 * len(array), array.dtype)
    larger[: len(array)] = array
    return larger


@kernel
def before(first, second, heap_counts, heap, pairs):  # type: ignore[no-untyped-def]
    """Whether place ``first`` of the heap goes first: a pair that occurs more, or as much and has the lower ids."""
    if heap_counts[first] != heap_counts[second]:
        return heap_counts[first] > heap_counts[second]
    return pairs[heap[first]] < pairs[heap[second]]


@kernel
def swap(first, second, heap_counts, heap):  # type: ignore[no-untyped-def]
    """Exchange two places of the heap."""
    heap[first], heap[second] = heap[second], heap[first]
    heap_counts[first], heap_counts[second] = heap_counts[second], heap_counts[first]


@kernel
def sift_down(size, heap_counts, heap, pairs):  # type: ignore[no-untyped-def]
    """Restore the heap of ``size`` places after its first one changed."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            return
        if child + 1 < size and before(child + 1, child, heap_counts, heap, pairs):
            child += 1
        if not before(child, place, heap_counts, heap, pairs):
            return
        swap(place, child, heap_counts, heap)
        place = child


@kernel
def sift_up(place, heap_counts, heap, pairs):  # type: ignore[no-untyped-def]
    """Restore the heap after ``place``, its last one, was filled."""
    while place:
        parent = (place - 1) // 2
        if not before(place, parent, heap_counts, heap, pairs):
            return
        swap(place, parent, heap_counts, heap)
        place = parent


@kernel
def learn_merges(data, starts, weights, ids, first_new, most, least):  # type: ignore[no-untyped-def]
    """The merges, int32 [m, 2], in their order; merge i makes id ``first_new`` + i.

    Piece n is ``data[starts[n] : starts[n + 1]]`` and occurs ``weights[n]`` times; ``ids``: byte → id. Ends after
    ``most`` merges, or when no pair occurs ``least`` times. Of pairs that occur equally often, the one with the lower
    ids goes first.
    """
    # Tokens in their places: each stands where its first byte did, and knows its neighbours within the piece.
    size = len(data)
    tokens, pieces = np.empty(size, np.int32), np.empty(size, np.int32)
    following, preceding = np.full(size, -1, np.int32), np.full(size, -1, np.int32)
    for piece in range(len(starts) - 1):
        for at in range(starts[piece], starts[piece + 1]):
            tokens[at], pieces[at] = ids[data[at]], piece
            if at > starts[piece]:
                preceding[at], following[at - 1] = at - 1, at
    # Pairs by number: left << 32 | right, how often it occurs, and the list of its positions, which only grows: a
    # position where the pair no longer stands is passed over.
    room = 1 << 15
    keys, numbers = np.full(4 * room, -1, np.int64), np.empty(4 * room, np.int32)
    pairs, counts = np.empty(room, np.int64), np.empty(room, np.int64)
    heads, tails = np.empty(room, np.int32), np.empty(room, np.int32)
    positions, links = np.empty(size + 16, np.int32), np.empty(size + 16, np.int32)
    known, posted = 0, 0
    # A heap of pairs by the counts that they had when they were last looked at.
    heap, heap_counts, heap_size = np.empty(room, np.int32), np.empty(room, np.int64), 0
    fresh, fresh_size = np.arange(size).astype(np.int32), size  # where a pair begins that is not counted yet
    merges, made = np.empty((most, 2), np.int32), 0
    while True:
        before_these = known
        for which in range(fresh_size):
            at = fresh[which]
            if following[at] < 0:
                continue
            key = np.int64(tokens[at]) << 32 | np.int64(tokens[following[at]])
            place = find(keys, key)
            if keys[place] < 0:
                if known == len(pairs):
                    pairs, counts, heads, tails = doubled(pairs), doubled(counts), doubled(heads), doubled(tails)
                    heap, heap_counts = doubled(heap), doubled(heap_counts)
                    keys, numbers = np.full(4 * len(pairs), -1, np.int64), np.empty(4 * len(pairs), np.int32)
                    for number in range(known):
                        place = find(keys, pairs[number])
                        keys[place], numbers[place] = pairs[number], number
                    place = find(keys, key)
                keys[place], numbers[place] = key, known
                pairs[known], counts[known], heads[known] = key, 0, -1
                known += 1
            number = numbers[place]
            counts[number] += weights[pieces[at]]
            if posted == len(positions):
                positions, links = doubled(positions), doubled(links)
            positions[posted], links[posted] = at, -1
            if heads[number] < 0:
                heads[number] = posted
            else:
                links[tails[number]] = posted
            tails[number] = posted
            posted += 1
        for number in range(before_these, known):
            heap[heap_size], heap_counts[heap_size] = number, counts[number]
            sift_up(heap_size, heap_counts, heap, pairs)
            heap_size += 1
        while heap_size and heap_counts[0] != counts[heap[0]]:
            heap_counts[0] = counts[heap[0]]
            sift_down(heap_size, heap_counts, heap, pairs)
        if made == most or not heap_size or heap_counts[0] < least:
            return merges[:made]
        best = heap[0]
        heap_size -= 1
        heap[0], heap_counts[0] = heap[heap_size], heap_counts[heap_size]
        sift_down(heap_size, heap_counts, heap, pairs)

        left, right, new = pairs[best] >> 32, pairs[best] & 0x7FFFFFFF, first_new + made
        merges[made, 0], merges[made, 1] = left, right
        made += 1
        fresh_size = 0
        post = heads[best]
        while post >= 0:
            at = positions[post]
            post = links[post]
            second = following[at]
            if tokens[at] != left or second < 0 or tokens[second] != right:
                continue
            weight = weights[pieces[at]]
            prior, after = preceding[at], following[second]
            if prior >= 0 and tokens[prior] != new:  # else its pair is among the fresh ones
                counts[numbers[find(keys, np.int64(tokens[prior]) << 32 | left)]] -= weight
                fresh[fresh_size] = prior
                fresh_size += 1
            if after >= 0:
                counts[numbers[find(keys, right << 32 | np.int64(tokens[after]))]] -= weight
                preceding[after] = at
            tokens[at], tokens[second], following[at] = new, -1, after
            fresh[fresh_size] = at
            fresh_size += 1
        counts[best] = 0
