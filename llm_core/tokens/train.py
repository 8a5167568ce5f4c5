"""The tokenizer, trained on a sample of the training split, and a report of how well it fits."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from llm_core.data.parts import read_parts
from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check
from llm_core.tokens.batches import batches
from llm_core.tokens.sample import sampled_texts
from llm_core.tokens.tokenizer import UNKNOWN, special_tokens, train_tokenizer

_LISTED = 30


def build(job: Job, tokenizer: TokenizerSpec) -> dict[str, Any]:
    """Write ``tokenizer.json`` and ``report.json``; figures are measured on the sample and on the held-out split."""
    train, heldout = job.path("documents", "train"), job.path("documents", "heldout")
    job.runtime.progress(0, 3, "passes")
    texts = (text for part in sampled_texts(train, tokenizer.sample_bytes) for text in part)
    trained = train_tokenizer(texts, tokenizer)
    vocab_size = trained.get_vocab_size()
    if vocab_size > tokenizer.vocab_size:
        raise PedigreeError(
            f"tokenizer.vocab_size: special tokens and bytes alone make {vocab_size} entries, more than "
            f"{tokenizer.vocab_size}; raise vocab_size"
        )
    trained.save(str(job.out / "tokenizer.json"))
    job.runtime.progress(1, 3, "passes")
    sample = _Usage(trained, sampled_texts(train, tokenizer.sample_bytes))
    job.runtime.progress(2, 3, "passes")
    unseen = _Usage(trained, (frame["text"].to_list() for _, frame in read_parts(heldout, ["text"])))
    job.runtime.progress(3, 3, "passes")
    entries = _Entries(trained, special_tokens(tokenizer))
    unused = [number for number in entries.learned if not sample.counts[number]]
    stats = {
        "vocab_size": vocab_size,
        "vocab_size_asked": tokenizer.vocab_size,
        "sample_documents": sample.documents,
        "sample_bytes": sample.bytes,
        "sample_tokens": sample.tokens,
        "bytes_per_token": sample.bytes_per_token,
        "heldout_bytes_per_token": unseen.bytes_per_token,
        "unk_rate": unseen.rate_of(trained.token_to_id(UNKNOWN)),
        "learned_entries": len(entries.learned),
        "unused_entries": len(unused),
        "unused_share": len(unused) / len(entries.learned) if entries.learned else 0.0,
        "unused_bytes": sum(not sample.counts[number] for number in entries.bytes),
    }
    report = {
        **stats,
        "special_tokens": {token: trained.token_to_id(token) for token in special_tokens(tokenizer)},
        "longest_entries": entries.listed(
            sorted(entries.learned, key=lambda number: (-entries.length(number), number))
        ),
        "most_used_entries": entries.listed(np.argsort(-sample.counts, kind="stable").tolist()),
        "unused": entries.listed(unused),
    }
    (job.out / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return stats


class _Usage:
    """What encoding some texts takes: documents, bytes, and how often every entry is used."""

    def __init__(self, tokenizer: Tokenizer, parts: Iterable[list[str]]) -> None:
        self.counts = np.zeros(tokenizer.get_vocab_size(), dtype=np.int64)
        self.documents, self.bytes = 0, 0
        for batch in batches(text for part in parts for text in part):
            encodings = tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            ids = np.concatenate([np.array(encoding.ids, dtype=np.int64) for encoding in encodings])
            self.counts += np.bincount(ids, minlength=len(self.counts))
            self.documents += len(batch)
            self.bytes += sum(len(text.encode()) for text in batch)

    @property
    def tokens(self) -> int:
        return int(self.counts.sum())

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens if self.tokens else 0.0

    def rate_of(self, entry: int | None) -> float:
        return float(self.counts[entry] / self.tokens) if entry is not None and self.tokens else 0.0


class _Entries:
    """The vocabulary by kind: special tokens, single bytes, and what merging made."""

    def __init__(self, tokenizer: Tokenizer, special: list[str]) -> None:
        self._tokenizer = tokenizer
        self._names = {number: name for name, number in tokenizer.get_vocab().items()}
        ordinary = [number for number in sorted(self._names) if self._names[number] not in special]
        self.bytes = [number for number in ordinary if self.length(number) == 1]
        self.learned = [number for number in ordinary if self.length(number) > 1]

    def length(self, number: int) -> int:
        """Bytes of an entry: byte-level names have one character a byte."""
        return len(self._names[number])

    def listed(self, numbers: list[int]) -> list[str]:
        return [self._tokenizer.decode([number], skip_special_tokens=False) for number in numbers[:_LISTED]]


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:
    """Nothing is unknown, the vocabulary is used, and it has the size that was asked for."""
    asked, reached = stats["vocab_size_asked"], stats["vocab_size"]
    return [
        Check(
            "unk_rate",
            stats["unk_rate"] <= bounds.max_unk_rate,
            f"{stats['unk_rate']:.4%} of the held-out tokens are unknown; at most {bounds.max_unk_rate:.2%} may be",
            value=stats["unk_rate"],
            bound=bounds.max_unk_rate,
        ),
        Check(
            "unused_entries",
            stats["unused_share"] <= bounds.max_unused_vocabulary,
            f"{stats['unused_entries']} of {stats['learned_entries']} learned entries are never used in the sample "
            f"({stats['unused_share']:.1%}; at most {bounds.max_unused_vocabulary:.0%} may be)",
            value=stats["unused_share"],
            bound=bounds.max_unused_vocabulary,
        ),
        Check(
            "vocabulary_reached",
            reached == asked,
            f"{reached} entries of the {asked} asked for"
            + (
                ""
                if reached == asked
                else ": the sample has no more repeated pairs; use more text or a smaller vocabulary"
            ),
            value=reached,
            bound=asked,
        ),
    ]
