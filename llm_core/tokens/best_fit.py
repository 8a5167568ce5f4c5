"""Best-fit decreasing bin packing, for many items of few sizes at once."""

from collections.abc import Iterator

import numpy as np


def best_fit(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, int]:
    """The bin of every item, int64, and the number of bins; ``lengths`` (each from 1 to ``capacity``) in any order.

    Items are placed from the longest to the shortest, equal ones in their order. Each goes into the fullest bin that
    has room for it, or into a new bin (Johnson, 1973; for documents: Ding et al., 2024). All items of one length are
    placed together: bins are kept in lists by the room that they have left, and as many bins as needed move from one
    list to another. So the time grows with the number of different lengths, and hardly with the number of items.
    """
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    bins = np.empty(len(lengths), dtype=np.int64)
    rooms = _Rooms(capacity)
    counts = np.bincount(lengths, minlength=1)
    done = 0
    for length in np.flatnonzero(counts)[::-1].tolist():
        count = int(counts[length])
        for placed in rooms.place(length, count):
            bins[order[done : done + len(placed)]] = placed
            done += len(placed)
    return bins, rooms.bins


class _Rooms:
    """Open bins by the room that is left in them; bins of equal room wait in a queue of arrays."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.bins = 0
        self._queues: dict[int, list[np.ndarray]] = {}
        self._open = 0  # bit r: there is a bin with room r

    def place(self, length: int, count: int) -> Iterator[np.ndarray]:
        """The bins that the next ``count`` items of ``length`` go into, in order."""
        while count:
            fitting = self._open >> length
            if fitting:
                room = length + (fitting & -fitting).bit_length() - 1
                chosen = self._take(room, -(-count // (room // length)))
            else:
                room = self.capacity
                needed = -(-count // (room // length))
                chosen = np.arange(self.bins, self.bins + needed, dtype=np.int64)
                self.bins += needed
            # The bin just used is now the fullest with room, so it is filled up before the next one is begun.
            each = room // length
            placed = min(count, each * len(chosen))
            full, rest = divmod(placed, each)
            self._put(room - each * length, chosen[:full])
            if rest:
                self._put(room - rest * length, chosen[full:])
            yield (np.repeat(chosen, each) if each > 1 else chosen)[:placed]
            count -= placed

    def _take(self, room: int, count: int) -> np.ndarray:
        """Up to ``count`` bins from the front of a queue."""
        queue = self._queues[room]
        bins = queue[0] if len(queue) == 1 else np.concatenate(queue)
        if count < len(bins):
            self._queues[room] = [bins[count:]]
        else:
            del self._queues[room]
            self._open &= ~(1 << room)
        return bins[:count]

    def _put(self, room: int, bins: np.ndarray) -> None:
        if room and len(bins):
            self._queues.setdefault(room, []).append(bins)
            self._open |= 1 << room
