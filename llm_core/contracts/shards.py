"""A small folder of token shards."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llm_core.tokens.shard_file import write_shard

VOCABULARY = 60
_TOKENIZER = "ab" * 16


def write_shards(folder: Path, splits: dict[str, dict[str, Sequence[int]]]) -> None:
    """Shards with documents of the given lengths: split → source → lengths. Tokens count up; 0 ends a document."""
    index: dict[str, object] = {"dtype": "uint16", "vocab_size": VOCABULARY, "eot": 0, "tokenizer": _TOKENIZER}
    told = {}
    for split, sources in splits.items():
        (folder / split).mkdir(parents=True)
        ends = np.cumsum([length for lengths in sources.values() for length in lengths], dtype=np.int64)
        stream = np.arange(int(ends[-1]), dtype=np.int64) % (VOCABULARY - 1) + 1
        stream[ends - 1] = 0
        shards, start = [], 0
        for source, lengths in sources.items():
            file, stop = f"{split}/{source}-000.bin", start + sum(lengths)
            write_shard(folder / file, stream[start:stop], dtype="uint16", vocab_size=VOCABULARY, tokenizer=_TOKENIZER)
            shards.append({"file": file, "tokens": stop - start, "documents": len(lengths), "source": source})
            start = stop
        np.save(folder / split / "documents.npy", np.concatenate([[0], ends]))
        told[split] = {"tokens": len(stream), "documents": len(ends), "shards": shards}
    (folder / "shards.json").write_text(json.dumps({**index, "splits": told}))
