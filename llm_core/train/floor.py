"""How low an honest loss can be, judged by what a compressor makes of the same tokens."""

import lzma
import math

import numpy as np

from llm_core.tokens.loader import Loader
from llm_core.tokens.reader import ShardReader

CHUNKS, CHUNK_TOKENS = 64, 4096
"""The sample: so many stretches, spread evenly over a source."""


def compressed_nats(reader: ShardReader) -> float:
    """Nats per token of what ``lzma`` makes of a sample of the stream: so much it takes to write the tokens down."""
    chunks = max(1, min(CHUNKS, reader.tokens // CHUNK_TOKENS))
    length = min(CHUNK_TOKENS, reader.tokens)
    starts = reader.start + np.arange(chunks, dtype=np.int64) * ((reader.tokens - length) // max(1, chunks - 1))
    tokens = reader.spans(starts, np.full(chunks, length, dtype=np.int64))
    content = tokens.astype("<u2" if reader.vocab_size <= 1 << 16 else "<u4").tobytes()
    return len(lzma.compress(content)) * 8 * math.log(2) / len(tokens)


def run_nats(loader: Loader) -> float:
    """``compressed_nats`` of the sources of a run, by their shares."""
    shares = [plan.share for plan in loader.planned(0)]
    return sum(share * compressed_nats(reader) for share, reader in zip(shares, loader.readers, strict=True))


def steps_of_first_epoch(loader: Loader, steps: int) -> int:
    """How many of ``steps`` steps come before any source is read a second time."""
    low, high = 0, steps
    while low < high:
        middle = (low + high + 1) // 2
        if all(plan.epochs <= 1 for plan in loader.planned(middle)):
            low = middle
        else:
            high = middle - 1
    return low
