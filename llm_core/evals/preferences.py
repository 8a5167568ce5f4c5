"""The stage ``preference_margins``: whether the tuned model prefers the chosen answers of held-out pairs.

Rewards are those of DPO (Rafailov et al., 2023): β times the logarithm of how much likelier an answer became. Pairs
with the same prompt are alike, and count as one cluster.
"""

import json
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import polars as pl

from llm_core.evals.preference_results import PreferenceMargins, Score
from llm_core.evals.reference import AnswerScorer
from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.intervals import Estimate, clustered_mean, clustered_share
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.reference import FILE
from llm_core.tokens.target_mask import target_mask

SPLIT = "heldout"


def build(job: Job, model: ModelSpec, sequence_length: int, precision: str, beta: float) -> PreferenceMargins:
    """Score the held-out pairs. Writes ``pairs.jsonl``, a line per pair, with its place and its likelihoods."""
    shards = job.path("shards")
    reader = ShardReader(shards, SPLIT)
    before = np.load(shards / SPLIT / FILE)
    after = AnswerScorer(job, model, precision).nats(reader, sequence_length)
    sizes, prompts = _answers(reader)
    gain = before - after
    margins = beta * (gain[::2] - gain[1::2])
    table = pl.read_parquet(shards / "documents.parquet", glob=False).filter(pl.col("split") == SPLIT)[::2]
    with (job.out / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for number, (source, origin, row) in enumerate(table.select("source", "origin", "row").iter_rows()):
            line = {
                "pair": f"{source}/{origin}:{row}",
                "prompt": prompts[number],
                "margin": margins[number],
                **{
                    f"{side}_{what}": values[2 * number + place].item()
                    for place, side in enumerate(("chosen", "rejected"))
                    for what, values in (("nats_before", before), ("nats_after", after), ("tokens", sizes))
                },
            }
            file.write(json.dumps(line) + "\n")
    likelier = [_first_wins(-nats) for nats in (before, after)]
    return PreferenceMargins(
        pairs=len(margins),
        prompts=len(set(prompts)),
        margin=_score(clustered_mean(margins, prompts)),
        accuracy=_score(clustered_share(_wins(margins), prompts)),
        likelier_before=_score(clustered_share(likelier[0], prompts)),
        likelier_after=_score(clustered_share(likelier[1], prompts)),
        likelier_change=_score(clustered_mean(likelier[1] - likelier[0], prompts)),
        chosen_change=_score(clustered_mean(gain[::2], prompts)),
        rejected_change=_score(clustered_mean(gain[1::2], prompts)),
        longer=_score(clustered_share(_first_wins(sizes), prompts)),
    )


def _wins(differences: np.ndarray) -> np.ndarray:
    return (np.sign(differences) + 1) / 2


def _first_wins(values: np.ndarray) -> np.ndarray:
    """Of each pair: 1 if the first value is larger, 0 if the second is, ½ for a tie."""
    return _wins(values[::2] - values[1::2])


def _answers(reader: ShardReader) -> tuple[np.ndarray, Sequence[str]]:
    """The targets of every document, and a digest of each pair's prompt: the tokens before its last answer."""
    mask = target_mask(reader)
    assert mask is not None
    sizes, prompts = np.zeros(reader.documents, dtype=np.int64), []
    for number, (start, stop) in enumerate(zip(reader.offsets[:-1].tolist(), reader.offsets[1:].tolist(), strict=True)):
        kept = mask.spans(np.array([start]), np.array([stop - start]))
        sizes[number] = kept.sum()
        if number % 2 == 0:
            others = np.flatnonzero(~kept)
            last = others[others < np.flatnonzero(kept)[-1]]
            tokens = reader.read(start, start + int(last[-1]) + 1)
            prompts.append(blake2b(tokens.tobytes(), digest_size=8).hexdigest())
    return sizes, prompts


def _score(found: Estimate) -> Score:
    known = np.isfinite(found.stderr)
    return Score(value=found.mean, low=found.low if known else None, high=found.high if known else None)
