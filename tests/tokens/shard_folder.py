"""A hand-made folder of token shards for tests."""

import json
from pathlib import Path

import numpy as np


def write_shards(
    folder: Path, lengths: list[int], tokens_per_shard: int = 1 << 40, dtype: str = "uint16", split: str = "train"
) -> np.ndarray:
    """Documents of ``lengths`` tokens, numbered 1, 2, 3 … through the stream (modulo the vocabulary); returns them."""
    total = sum(lengths)
    vocab_size = 50_000
    tokens = (np.arange(total) % (vocab_size - 1) + 1).astype(np.dtype(dtype).newbyteorder("<"))
    (folder / split).mkdir(parents=True, exist_ok=True)
    shards = []
    for number, start in enumerate(range(0, total, tokens_per_shard)):
        piece = tokens[start : start + tokens_per_shard]
        piece.tofile(folder / split / f"{number:05d}.bin")
        shards.append({"file": f"{split}/{number:05d}.bin", "tokens": len(piece)})
    np.save(folder / split / "documents.npy", np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    index = {
        "dtype": dtype,
        "vocab_size": vocab_size,
        "eot": 0,
        "splits": {split: {"tokens": total, "documents": len(lengths), "shards": shards}},
    }
    (folder / "shards.json").write_text(json.dumps(index))
    return tokens.astype(np.int64)
