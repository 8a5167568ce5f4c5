"""From an optimiser step back to source documents: the data order is a function, so the answer is computed."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from llm_core.errors import PedigreeError
from llm_core.tokens.loader import Loader, ShardReader

RUNTIME_ONLY = True


@dataclass(frozen=True)
class TrainedRange:
    """A part of a document in a batch: ``tokens`` of the sequence ``sequence``, from ``token_start`` of a shard on."""

    sequence: int
    shard: int
    token_start: int
    tokens: int
    doc_id: str
    source: str
    origin: str
    row: int


def documents_of_step(
    shards: Path, step: int, *, sequence_length: int, batch_size: int, seed: int
) -> list[TrainedRange]:
    """The document parts whose tokens were inputs of optimiser step ``step`` (1 is the first), in batch order."""
    if step < 1:
        raise PedigreeError(f"step {step}: the first step of a run is 1")
    loader = Loader(ShardReader(shards, "train"), sequence_length, batch_size, seed)
    documents = (
        pl.read_parquet(shards / "documents.parquet", glob=False)
        .filter(pl.col("split") == "train")
        .sort("stream_start")
    )
    starts = documents["stream_start"].to_numpy()
    found = []
    for sequence, (start, after) in enumerate(loader.ranges(step - 1)):
        stop = after - 1  # the last token of a window is only a target
        first = int(starts.searchsorted(start, side="right")) - 1
        last = int(starts.searchsorted(stop, side="left"))
        for row in documents[first:last].iter_rows(named=True):
            begin = max(start, row["stream_start"])
            length = row["token_end"] - row["token_start"]
            end = min(stop, row["stream_start"] + length)
            if end > begin:
                offset = row["token_start"] + begin - row["stream_start"]
                place = (row["doc_id"], row["source"], row["origin"], row["row"])
                found.append(TrainedRange(sequence, row["shard"], offset, end - begin, *place))
    return found
