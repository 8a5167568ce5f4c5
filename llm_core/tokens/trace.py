"""Which documents an optimiser step was trained on, and which steps were trained on a document.

The data order is a function whose permutations can be inverted. So both are computed; nothing is recorded in a run.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.errors import PedigreeError
from llm_core.experiment.training import TrainingSpec
from llm_core.tokens.loader import Loader, Piece, open_loader
from llm_core.tokens.reader import ShardReader

_SPLIT = "train"


@dataclass(frozen=True)
class TrainedRange:
    """A part of a document in a batch.

    ``tokens`` tokens, from ``token_start`` of the shard on, stood in the sequence ``sequence`` from its ``column`` on.
    Sequences are counted over all ranks. ``targets`` of them were targets: all, except in conversations.
    """

    step: int
    sequence: int
    column: int
    shard: int
    token_start: int
    tokens: int
    targets: int
    doc_id: str
    source: str
    origin: str
    row: int


def training_section(config: Mapping[str, Any]) -> TrainingSpec:
    """The section ``training`` from its canonical form, which also has derived values."""
    fields = {name: value for name, value in config.items() if name in TrainingSpec.model_fields}
    return TrainingSpec.model_validate_json(json.dumps(fields))


def documents_of_step(shards: Path, step: int, training: TrainingSpec, seed: int) -> list[TrainedRange]:
    """The document parts whose tokens were targets of optimiser step ``step`` (1 is the first), in batch order."""
    if not 1 <= step <= training.steps:
        raise PedigreeError(f"step {step}: the run has the steps 1 to {training.steps}")
    loader = open_loader(shards, training, seed)
    pieces = loader.pieces(step - 1)
    starts = [_document_starts(loader.readers[p.source], p.start, p.start + p.length) for p in pieces]
    documents = _documents(shards, pl.col("stream_start").is_in(sorted({start for found in starts for start in found})))
    by_start = {row["stream_start"]: row for row in documents}
    return [
        _range(loader, piece.source, step, piece, by_start[start])
        for piece, found in zip(pieces, starts, strict=True)
        for start in found
    ]


def trained_documents(shards: Path, start: str) -> list[dict[str, Any]]:
    """The rows of ``documents.parquet`` of the training split whose identity begins with ``start``."""
    return _documents(shards, pl.col("doc_id").str.starts_with(start))


def steps_of_document(shards: Path, doc_id: str, training: TrainingSpec, seed: int) -> list[TrainedRange]:
    """Where the tokens of a document were targets, in the order of the run; empty if no step reached it.

    Raises ``PedigreeError`` for a document that is not in the training split.
    """
    found = _documents(shards, pl.col("doc_id") == doc_id)
    if not found:
        raise PedigreeError(f"{shards}: the training split has no document {doc_id}")
    (row,) = found
    start = row["stream_start"]
    stop = start + row["token_end"] - row["token_start"]
    loader = open_loader(shards, training, seed)
    return [
        _range(loader, source, step + 1, piece, row)
        for source in _sources_with(loader, start)
        for step, piece in loader.seen(start, stop, training.steps, source)
    ]


def _sources_with(loader: Loader, position: int) -> Iterable[int]:
    """The source that has this position of the stream; none if the mixture leaves that source out."""
    return [number for number, reader in enumerate(loader.readers) if reader.start <= position < reader.stop]


def _document_starts(reader: ShardReader, start: int, stop: int) -> list[int]:
    """The starts in the stream of all documents that have a token in ``start`` to ``stop``."""
    first = int(reader.offsets.searchsorted(start, side="right")) - 1
    last = int(reader.offsets.searchsorted(stop, side="left"))
    starts: list[int] = reader.offsets[first:last].tolist()
    return starts


def _documents(shards: Path, which: pl.Expr) -> list[dict[str, Any]]:
    documents = pl.scan_parquet(shards / "documents.parquet", glob=False)
    return documents.filter(pl.col("split") == _SPLIT, which).collect(engine="streaming").to_dicts()


def _range(loader: Loader, source: int, step: int, piece: Piece, document: dict[str, Any]) -> TrainedRange:
    """The part of a document in a piece of the source with this number."""
    begin = max(piece.start, document["stream_start"])
    end = min(piece.start + piece.length, document["stream_start"] + document["token_end"] - document["token_start"])
    mask = loader.masks[source]
    return TrainedRange(
        step,
        piece.sequence,
        piece.column + begin - piece.start,
        document["shard"],
        document["token_start"] + begin - document["stream_start"],
        end - begin,
        end - begin if mask is None else int(mask.spans(np.array([begin]), np.array([end - begin])).sum()),
        *(document[name] for name in ("doc_id", "source", "origin", "row")),
    )
