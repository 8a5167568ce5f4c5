"""Texts in batches of bounded size: the tokenizer encodes one over all threads, and memory holds one."""

from collections.abc import Iterable, Iterator

BATCH_BYTES = 4 << 20


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in order, in lists of ``BATCH_BYTES`` of UTF-8 and what the last text of a list has above that."""
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
