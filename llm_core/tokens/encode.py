"""Encodes one part of the documents into one shard."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from llm_core.data.parquet_parts import read_part, write_part
from llm_core.experiment.tokens import ShardsSpec
from llm_core.graph.part import PartWork
from llm_core.store.digests import file_digest
from llm_core.tokens.batches import batches
from llm_core.tokens.encoders import Encoder, fastest_encoder
from llm_core.tokens.shard_file import open_shard, write_shard
from llm_core.tokens.tokenizer import (
    came_back,
    end_of_text,
    learned_entries,
    load_tokenizer,
    unknown_id,
    vocabulary_size,
)

_ROUND_TRIPS = 10  # documents of a part that are decoded again
_LONGEST_DECODED = 1 << 20  # tokens of such a document: decoding takes a Python number for each


@dataclass(frozen=True)
class _Vocabulary:
    tokenizer: Tokenizer
    size: int
    eot: int
    learned: np.ndarray  # bool, by id


def encode_part(work: PartWork, shards: ShardsSpec) -> dict[str, Any]:
    """Write the shard of a part, and ``documents.parquet`` beside it. A part without documents writes nothing.

    The statistics are read back from the files. Raises ``PedigreeError`` for an id that the vocabulary does not have.
    """
    path = work.inputs["tokenizer"]
    digest = file_digest(path)
    vocabulary = _vocabulary(path, digest)
    documents = read_part(work.inputs["documents"])
    stats = {
        "split": work.settings["split"],
        "file": work.settings["file"],
        "documents": documents.height,
        "source": documents["source"][0] if documents.height else "",
        "bytes": int(documents["text"].str.len_bytes().sum()),
        "learned_entries": int(vocabulary.learned.sum()),
    }
    if documents.is_empty():
        return {**stats, **_read_back(np.empty(0, np.int64), np.zeros(1, np.int64), [], vocabulary)}
    assert documents["source"].n_unique() == 1, f"{work.name} mixes sources"
    texts = documents["text"].to_list()
    ids, borders = encode(texts, fastest_encoder(path), vocabulary.eot)
    shard = work.out / work.settings["file"]
    shard.parent.mkdir(parents=True)
    write_shard(shard, ids, dtype=shards.dtype, vocab_size=vocabulary.size, tokenizer=digest)
    places = pl.DataFrame({"token_start": borders[:-1], "token_end": borders[1:]})
    write_part(work.out / "documents.parquet", places.hstack(documents.select("doc_id", "source", "origin", "row")))
    return {**stats, **_read_back(open_shard(shard)[1], borders, texts, vocabulary)}


@lru_cache(maxsize=2)
def _vocabulary(path: Path, _digest: str) -> _Vocabulary:
    """What encoding needs to know of a tokenizer. Cached: this process may encode more parts with it."""
    tokenizer = load_tokenizer(path)
    size = vocabulary_size(tokenizer)
    learned = np.zeros(size, dtype=bool)
    learned[learned_entries(tokenizer)] = True
    return _Vocabulary(tokenizer, size, end_of_text(tokenizer, path), learned)


def encode(texts: Sequence[str], encoder: Encoder, eot: int) -> tuple[np.ndarray, np.ndarray]:
    """(the ids of all texts, ``eot`` after each, uint32; where each text starts, and the end of the last, int64)."""
    pieces, lengths = [], [np.zeros(1, np.int64)]
    for batch in batches(texts):
        encoded = encoder.encode_batch(batch)
        pieces.append(np.insert(encoded.ids, np.cumsum(encoded.lengths), eot))
        lengths.append(encoded.lengths + 1)
    return np.concatenate(pieces), np.cumsum(np.concatenate(lengths))


def _read_back(tokens: np.ndarray, borders: np.ndarray, texts: list[str], vocabulary: _Vocabulary) -> dict[str, Any]:
    """Statistics that are read from the written shard, and computed by other code than that which wrote it."""
    starts, ends = borders[:-1], borders[1:]
    unused = vocabulary.learned.copy()
    unused[tokens] = False
    # A text with an unknown byte can't be decoded to itself. The check ``unk_rate`` limits how many there are.
    unknown = unknown_id(vocabulary.tokenizer)
    tried, failed = 0, 0
    for number in range(0, len(texts), max(1, len(texts) // _ROUND_TRIPS)):
        if ends[number] - starts[number] > _LONGEST_DECODED:
            continue
        ids = tokens[starts[number] : ends[number] - 1].tolist()
        if unknown not in ids:
            decoded = vocabulary.tokenizer.decode(ids, skip_special_tokens=False)
            failed += not came_back(vocabulary.tokenizer, decoded, texts[number])
            tried += 1
    return {
        "tokens": len(tokens),
        "tokens_of_documents": int((ends - starts).sum()),
        "end_of_text_tokens": int((tokens == vocabulary.eot).sum()),
        "misplaced_ends": int((tokens[ends - 1] != vocabulary.eot).sum()) if len(tokens) else 0,
        "round_trips": tried,
        "round_trips_failed": failed,
        "unused": base64.b64encode(np.packbits(unused).tobytes()).decode(),
    }


def unused_together(parts: Sequence[str]) -> int:
    """The number of learned entries that no part uses. ``parts``: the field ``unused`` of each part's statistics."""
    bits = [np.frombuffer(base64.b64decode(part), dtype=np.uint8) for part in parts]
    return int(np.unpackbits(np.bitwise_and.reduce(bits)).sum()) if bits else 0
