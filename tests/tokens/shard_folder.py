"""A hand-made folder of token shards for tests."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llm_core.tokens.shard_file import write_shard

VOCABULARY = 50_000
TOKENIZER = "ab" * 16


def write_shards(
    folder: Path,
    documents: Sequence[int] | Mapping[str, Sequence[int]],
    tokens_per_shard: int = 1 << 40,
    dtype: str = "uint16",
    split: str = "train",
    tokenizer: str = TOKENIZER,
) -> np.ndarray:
    """Shards with documents of the given lengths, by source; returns the stream.

    Tokens count 1, 2, 3 … through the stream (modulo the vocabulary), but for the 0 that ends every document. A shard
    ends wherever ``tokens_per_shard`` says.
    """
    sources = documents if isinstance(documents, Mapping) else {"made": documents}
    ends = np.cumsum([length for lengths in sources.values() for length in lengths], dtype=np.int64)
    stream = np.arange(int(ends[-1]), dtype=np.int64) % (VOCABULARY - 1) + 1
    stream[ends - 1] = 0
    (folder / split).mkdir(parents=True, exist_ok=True)
    shards, start = [], 0
    for source, lengths in sources.items():
        stop = start + sum(lengths)
        for number, first in enumerate(range(start, stop, tokens_per_shard)):
            file, piece = f"{split}/{source}-{number:03d}.bin", stream[first : min(first + tokens_per_shard, stop)]
            write_shard(folder / file, piece, dtype=dtype, vocab_size=VOCABULARY, tokenizer=tokenizer)
            shards.append({"file": file, "tokens": len(piece), "documents": 0, "source": source})
        start = stop
    np.save(folder / split / "documents.npy", np.concatenate([[0], ends]))
    index = {
        "dtype": dtype,
        "vocab_size": VOCABULARY,
        "eot": 0,
        "tokenizer": tokenizer,
        "splits": {split: {"tokens": len(stream), "documents": len(ends), "shards": shards}},
    }
    (folder / "shards.json").write_text(json.dumps(index))
    return stream
