"""How well vocabularies fit the same texts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llm_core.tokens.batches import batches
from llm_core.tokens.encoders import Encoder


@dataclass
class Usage:
    """Token counts of some texts. ``counts[id]``: how often the id occurs; the array ends with the highest id used."""

    documents: int = 0
    bytes: int = 0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def tokens(self) -> int:
        """Tokens of the texts, without end-of-text tokens."""
        return int(self.counts.sum())

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text per token; 0 if there is no text."""
        return self.bytes / self.tokens if self.tokens else 0.0

    def __add__(self, other: "Usage") -> "Usage":
        counts = np.zeros(max(len(self.counts), len(other.counts)), dtype=np.int64)
        counts[: len(self.counts)] += self.counts
        counts[: len(other.counts)] += other.counts
        return Usage(self.documents + other.documents, self.bytes + other.bytes, counts)


def usage(encoder: Encoder, texts: Iterable[str]) -> Usage:
    """The token counts of ``texts`` with ``encoder``."""
    total = Usage()
    for batch in batches(texts):
        counts = np.bincount(encoder.encode_batch(batch).ids)
        total += Usage(len(batch), sum(len(text.encode()) for text in batch), counts)
    return total


def measured(
    name: str, vocab_size: int, encoder: Encoder, texts: Mapping[str, Sequence[str]]
) -> tuple[dict[str, object], Usage]:
    """(a row of the report: bytes per token over all ``texts`` and by source; the usage over all)."""
    by_source = {source: usage(encoder, own) for source, own in sorted(texts.items())}
    total = sum(by_source.values(), Usage())
    row = {
        "name": name,
        "vocab_size": vocab_size,
        "bytes_per_token": total.bytes_per_token,
        "by_source": {source: own.bytes_per_token for source, own in by_source.items()},
    }
    return row, total
