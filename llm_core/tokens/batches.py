"""Texts in batches of bounded size. The encoder spreads a batch over all threads; memory holds one batch at a time."""

from collections.abc import Iterable, Iterator

BATCH_BYTES = 4 << 20


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in order, in lists. A list ends with the text that brings it to ``BATCH_BYTES`` of UTF-8."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text.encode())
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
