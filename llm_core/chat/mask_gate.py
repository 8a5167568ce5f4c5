"""The mask gate: no model is tuned before the written target mask says what the conversations say.

The shards are read back, and their targets are compared with the conversations by other code than that which wrote
them: it knows neither templates nor how a mask is made. Of every conversation, the runs of targets must be as many as
the assistant's turns, and each must decode to the turn and one control token after it.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from tokenizers import Tokenizer

from llm_core.chat.results import ConversationShards, MaskGate
from llm_core.data.parquet_parts import read_parts
from llm_core.data.split import SPLITS
from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.tuning import PERSONA
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.tokens.prompts import prompt_tokenizer
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.target_mask import target_mask
from llm_core.tokens.tokenizer import came_back, unknown_id

SHOWN = 5
_SHOWN_TOKENS = 400
_NAMED = 3
_AT_ONCE = 1000


def build(job: Job) -> MaskGate:
    """Compare the mask of every conversation with its turns."""
    shards, path = job.path("shards"), job.path("tokenizer", "tokenizer.json")
    tokenizer = prompt_tokenizer(path)
    written_as = job.inputs["shards"].results(ConversationShards)
    stop = set(written_as.stop)
    answers = _answers(job.path("conversations", "parts"))
    own_exchanges = sum(source == PERSONA for source, _, _ in answers)
    each = max(map(len, answers.values()))  # documents of a conversation: two for a pair
    wrong: list[str] = []
    counts: dict[str, int] = defaultdict(int)
    shown: list[dict[str, Any]] = []
    for split in SPLITS:
        reader = ShardReader(shards, split)
        mask = target_mask(reader)
        if mask is None:
            raise PedigreeError(f"{shards / split}: has no target mask; make the shards again")
        table = pl.read_parquet(shards / "documents.parquet", glob=False).filter(pl.col("split") == split)
        every = max(1, table.height // SHOWN)
        for start in range(0, table.height, _AT_ONCE):
            rows = table.slice(start, _AT_ONCE).to_dicts()
            starts = np.array([row["stream_start"] for row in rows], dtype=np.int64)
            lengths = np.array([row["token_end"] - row["token_start"] for row in rows], dtype=np.int64)
            ends = np.cumsum(lengths)
            ids = np.split(reader.spans(starts, lengths), ends[:-1])
            kept = np.split(mask.spans(starts, lengths), ends[:-1])
            runs = [_runs(*pair) for pair in zip(ids, kept, strict=True)]
            texts = iter(tokenizer.decode_batch([run[:-1] for own in runs for run in own], skip_special_tokens=False))
            for number, (row, own) in enumerate(zip(rows, runs, strict=True), start=start):
                written = answers[_key(row, own_exchanges)][number % each]
                decoded = [next(texts) for _ in own]
                counts["conversations"] += 1
                counts["without_target"] += not own
                right = len(own) == len(written) and all(
                    run[-1] in stop and _equal(tokenizer, run[:-1], text, answer)
                    for run, text, answer in zip(own, decoded, written, strict=True)
                )
                if not right:
                    wrong.append(f"{row['source']}/{row['origin']}:{row['row']}: {_told(own, decoded, written, stop)}")
                if split == "train" and number % every == 0 and len(shown) < SHOWN:
                    shown.append(_shown(row, tokenizer, ids[number - start], kept[number - start]))
            counts["tokens"] += int(lengths.sum())
            counts["targets"] += sum(int(part.sum()) for part in kept)
    repeated = own_exchanges * max(0, written_as.persona_repeats - 1)
    return MaskGate(
        conversations=counts["conversations"],
        without_target=counts["without_target"],
        wrong_targets=len(wrong),
        first_wrong=wrong[:_NAMED],
        tokens=counts["tokens"],
        targets=counts["targets"],
        target_share=counts["targets"] / counts["tokens"] if counts["tokens"] else 0.0,
        missing=each * (len(answers) - written_as.too_long) + repeated - counts["conversations"],
        shown=shown,
    )


_Place = tuple[str, str, int]


def _answers(folder: Path) -> dict[_Place, list[list[str]]]:
    """Place of each conversation → what the assistant says in it. A pair has two lists, the chosen answers first."""
    found = {}
    for _, frame in read_parts(folder):
        for row in frame.iter_rows(named=True):
            said = [text for role, text in zip(row["roles"], row["contents"], strict=True) if role == "assistant"]
            pair = [] if row["rejected"] is None else [[*said[:-1], row["rejected"]]]
            found[row["source"], row["origin"], row["row"]] = [said, *pair]
    return found


def _key(row: dict[str, Any], own_exchanges: int) -> _Place:
    """The place of a conversation. The persona's are repeated: repeat r of row i of n is row r·n + i."""
    number = row["row"] % own_exchanges if row["source"] == PERSONA else row["row"]
    return row["source"], row["origin"], number


def _runs(ids: np.ndarray, kept: np.ndarray) -> list[list[int]]:
    """The ids of each run of targets."""
    borders = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    return [ids[first:last].tolist() for first, last in zip(borders[::2].tolist(), borders[1::2].tolist(), strict=True)]


def _equal(tokenizer: Tokenizer, ids: Sequence[int], decoded: str, answer: str) -> bool:
    """Whether a run of targets is the answer. White space before the end of the turn may be the template's."""
    unknown = unknown_id(tokenizer)
    return came_back(tokenizer, decoded.rstrip(), answer) or (unknown is not None and unknown in ids)


def _told(runs: list[list[int]], decoded: list[str], written: list[str], stop: set[int]) -> str:
    if len(runs) != len(written):
        return f"{len(runs)} runs of targets for {len(written)} answers"
    for run, text, answer in zip(runs, decoded, written, strict=True):
        if run[-1] not in stop:
            return f"the targets of {answer[:40]!r} do not end with the end of the turn"
        if text != answer:
            return f"the targets are {text[:40]!r}, and the answer is {answer[:40]!r}"
    return "the targets are not the answers"


def _shown(row: dict[str, Any], tokenizer: Tokenizer, ids: np.ndarray, kept: np.ndarray) -> dict[str, Any]:
    """A conversation for people: pieces of text, each with whether it is a target."""
    borders = [0, *(np.flatnonzero(np.diff(kept[:_SHOWN_TOKENS].astype(np.int8))) + 1).tolist()]
    stops = [*borders[1:], min(len(ids), _SHOWN_TOKENS)]
    return {
        "place": f"{row['source']}/{row['origin']}:{row['row']}",
        "pieces": [
            [tokenizer.decode(ids[first:last].tolist(), skip_special_tokens=False), bool(kept[first])]
            for first, last in zip(borders, stops, strict=True)
        ],
        "more_tokens": max(0, len(ids) - _SHOWN_TOKENS),
    }


def all_have_targets(results: MaskGate, bounds: ChecksSpec) -> Verdict:
    """Every conversation has something to learn."""
    del bounds
    without = results.without_target
    return Verdict(without == 0, f"{without} of {results.conversations} conversations have no target", without, 0)


def targets_are_answers(results: MaskGate, bounds: ChecksSpec) -> Verdict:
    """The targets are the assistant's turns and their ends, and nothing else."""
    del bounds
    wrong = results.wrong_targets
    return Verdict(
        wrong == 0,
        f"the targets of {wrong} of {results.conversations} conversations are not the assistant's turns; the first: "
        f"{'; '.join(results.first_wrong)}"
        if wrong
        else f"the targets of all {results.conversations} conversations are the assistant's turns, with their ends",
        value=wrong,
        bound=0,
    )


def share_of_targets(results: MaskGate, bounds: ChecksSpec) -> Verdict:
    """The share of tokens that are targets is within its bounds."""
    share, least, most = results.target_share, bounds.min_target_share, bounds.max_target_share
    return Verdict(
        least <= share <= most,
        f"{share:.1%} of the tokens are targets; from {least:.0%} to {most:.0%} may be",
        value=share,
        bound=least if share < least else most,
    )


def none_missing(results: MaskGate, bounds: ChecksSpec) -> Verdict:
    """Every conversation is in the shards, or counted as too long."""
    del bounds
    missing = results.missing
    message = f"{missing} conversations are neither in the shards nor counted as too long"
    return Verdict(missing == 0, message if missing else "every conversation is accounted for", missing, 0)
