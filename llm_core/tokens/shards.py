"""Token shards of both splits, one per part of the documents, and a table of the document that each token belongs to.

``<split>/NAME.bin``: the documents of part NAME, each with the end-of-text id at its end (``shard_file`` has the
layout). ``shards.json``: the table of contents; a split's stream of tokens is its shards in the order of that table, by
source and name. ``<split>/documents.npy``: where each document starts in that stream, and its end (for training).
``documents.parquet``: the same with the origin of every document (what people and queries read).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.split import SPLITS
from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.tokens import ShardsSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask
from llm_core.graph.stage import Verdict
from llm_core.store.digests import file_digest
from llm_core.store.parts import Part, link_or_copy
from llm_core.tokens.encode import encode_part, unused_together
from llm_core.tokens.encoders import fastest_encoder
from llm_core.tokens.results import TokenShards
from llm_core.tokens.tokenizer import end_of_text, load_tokenizer, vocabulary_size

PLACES = {
    "split": pl.String,
    "shard": pl.Int64,
    "token_start": pl.Int64,
    "token_end": pl.Int64,
    "stream_start": pl.Int64,
    "doc_id": pl.String,
    "source": pl.String,
    "origin": pl.String,
    "row": pl.Int64,
}
"""The columns of ``documents.parquet``. ``shard``: its number in the split; ``token_start`` and ``token_end``: where in
that shard; ``stream_start``: where in the split's stream of tokens."""

_ROW_GROUP = 50_000


def parts(inputs: Mapping[str, Sequence[InputFile]], shards: ShardsSpec) -> list[PartTask]:
    """One task per part and split. No tasks if the tokenizer is not made yet (the plan asks then, too)."""
    return [
        PartTask(
            f"{split}-{file.stem}",
            encode_part,
            {"documents": file, "tokenizer": tokenizer},
            {"shards": shards},
            {"split": split, "file": f"{split}/{file.stem}.bin"},
        )
        for tokenizer in inputs["tokenizer"]
        if tokenizer.name == "tokenizer.json"
        for split in SPLITS
        for file in inputs["documents"]
        if file.name.startswith(f"{split}/")
    ]


def build(job: Job, shards: ShardsSpec) -> TokenShards:
    """Encode both splits, part by part, and join the tables of documents."""
    path = job.path("tokenizer", "tokenizer.json")
    tokenizer = load_tokenizer(path)
    vocab_size, eot = vocabulary_size(tokenizer), end_of_text(tokenizer, path)
    limit = np.iinfo(shards.dtype).max + 1
    if vocab_size > limit:
        raise PedigreeError(
            f"shards.dtype: {shards.dtype} holds {limit} ids, and the tokenizer has {vocab_size}; use uint32"
        )
    job.runtime.log(f"{job.stage}: encoding with {fastest_encoder(path).name}")
    made = job.map(parts(job.files(), shards), link=False)
    index: dict[str, Any] = {
        "dtype": shards.dtype,
        "vocab_size": vocab_size,
        "eot": eot,
        "tokenizer": file_digest(path),
        "splits": {},
    }
    tables = []
    for split in SPLITS:
        ordered = sorted(
            (part for part in made if part.stats["split"] == split and part.stats["documents"]),
            key=lambda part: (part.stats["source"], part.name),
        )
        tables += _link_split(job, split, ordered)
        index["splits"][split] = _contents(ordered)
    documents = pl.concat(tables) if tables else pl.LazyFrame(schema=PLACES)
    documents.sink_parquet(job.out / "documents.parquet", compression="zstd", row_group_size=_ROW_GROUP)
    (job.out / "shards.json").write_text(json.dumps(index, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return _results([part.stats for part in made], index)


def _link_split(job: Job, split: str, ordered: list[Part]) -> list[pl.LazyFrame]:
    """Link the shards of one split into the artifact, and write ``documents.npy``. Returns the table of documents."""
    (job.out / split).mkdir(parents=True, exist_ok=True)
    tables, starts, stream = [], [], 0
    for number, part in enumerate(ordered):
        link_or_copy(part.folder / part.stats["file"], job.out / part.stats["file"])
        table = part.folder / "documents.parquet"
        starts.append(pl.read_parquet(table, columns=["token_start"], glob=False)["token_start"].to_numpy() + stream)
        place = {"split": pl.lit(split), "shard": pl.lit(number, pl.Int64)}
        tables.append(
            pl.scan_parquet(table, glob=False)
            .with_columns(**place, stream_start=pl.col("token_start") + stream)
            .select(*PLACES)
        )
        stream += part.stats["tokens"]
    np.save(job.out / split / "documents.npy", np.concatenate([*starts, [stream]]).astype(np.int64))
    return tables


def _contents(ordered: list[Part]) -> dict[str, Any]:
    """A split's entry in ``shards.json``."""
    shards = [{name: part.stats[name] for name in ("file", "tokens", "documents", "source")} for part in ordered]
    return {
        "tokens": sum(shard["tokens"] for shard in shards),
        "documents": sum(shard["documents"] for shard in shards),
        "shards": shards,
    }


def _results(parts: list[dict[str, Any]], index: dict[str, Any]) -> TokenShards:
    """The statistics of the stage: sums over those of the parts, which were read back from their files."""
    stats: dict[str, Any] = {"documents": sum(part["documents"] for part in parts)}
    tokens_by_source: Counter[str] = Counter()
    for split in SPLITS:
        own = [part for part in parts if part["split"] == split]
        counts = {name: sum(part[name] for part in own) for name in ("tokens", "documents", "tokens_of_documents")}
        stats |= {f"{split}_{name}": count for name, count in counts.items()}
        encoded = counts["tokens"] - counts["documents"]  # without those that end documents
        stats[f"{split}_bytes_per_token"] = sum(part["bytes"] for part in own) / encoded if encoded else 0.0
    for part in parts:
        if part["documents"]:
            tokens_by_source[part["source"]] += part["tokens"]
    learned = next((part["learned_entries"] for part in parts), 0)
    unused = unused_together([part["unused"] for part in parts if part["split"] == "train"])
    return TokenShards(
        **stats,
        shards=sum(len(split["shards"]) for split in index["splits"].values()),
        empty_parts=sum(not part["documents"] for part in parts if part["split"] == "train"),
        tokens_by_source=dict(sorted(tokens_by_source.items())),
        vocab_size=index["vocab_size"],
        learned_entries=learned,
        unused_entries=unused,
        unused_share=unused / learned if learned else 0.0,
        end_of_text_tokens=sum(part["end_of_text_tokens"] for part in parts),
        misplaced_ends=sum(part["misplaced_ends"] for part in parts),
        round_trips=sum(part["round_trips"] for part in parts),
        round_trips_failed=sum(part["round_trips_failed"] for part in parts),
    )


def not_empty(results: TokenShards, bounds: ChecksSpec) -> Verdict:
    """Both splits hold tokens."""
    del bounds
    least = min(results.train_tokens, results.heldout_tokens)
    message = f"{results.train_tokens} tokens to train on, {results.heldout_tokens} held out"
    return Verdict(least > 0, message, value=least, bound=1)


def token_counts(results: TokenShards, bounds: ChecksSpec) -> Verdict:
    """The shards hold as many tokens as the documents."""
    del bounds
    tokens = results.train_tokens + results.heldout_tokens
    summed = results.train_tokens_of_documents + results.heldout_tokens_of_documents
    message = f"the shards hold {tokens} tokens, the documents {summed}"
    return Verdict(tokens == summed, message, value=tokens, bound=summed)


def document_ends(results: TokenShards, bounds: ChecksSpec) -> Verdict:
    """Every document ends with an end-of-text token, and no other place has one."""
    del bounds
    ends, documents = results.end_of_text_tokens, results.documents
    return Verdict(
        ends == documents and not results.misplaced_ends,
        f"{ends} end-of-text tokens for {documents} documents, {results.misplaced_ends} of which end otherwise",
        value=ends,
        bound=documents,
    )


def round_trip(results: TokenShards, bounds: ChecksSpec) -> Verdict:
    """Documents decode to what was encoded."""
    del bounds
    failed = results.round_trips_failed
    message = f"{failed} of {results.round_trips} documents decode to another text than was encoded"
    return Verdict(failed == 0, message, value=failed, bound=0)


def unused_entries(results: TokenShards, bounds: ChecksSpec) -> Verdict:
    """Most of the vocabulary occurs in the training split."""
    return Verdict(
        results.unused_share <= bounds.max_unused_vocabulary,
        f"{results.unused_entries} of {results.learned_entries} learned entries never occur in the training "
        f"split ({results.unused_share:.1%}; at most {bounds.max_unused_vocabulary:.0%} may be)",
        value=results.unused_share,
        bound=bounds.max_unused_vocabulary,
    )


def empty_parts(results: TokenShards, bounds: ChecksSpec) -> Verdict:
    """Every part of the training split holds a document."""
    del bounds
    message = f"{results.empty_parts} parts of the training split hold no document"
    return Verdict(results.empty_parts == 0, message, value=results.empty_parts, bound=0)
