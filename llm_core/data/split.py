"""The training split, and the held-out split that no model sees."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.keys import key_hashes
from llm_core.data.parts import part_paths, read_parts, write_part
from llm_core.experiment.dedup import SplitSpec
from llm_core.experiment.evaluation import ChecksSpec, EvaluationSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check

SPLITS = ("train", "heldout")


def build(job: Job, split: SplitSpec, evaluation: EvaluationSpec) -> dict[str, Any]:
    """Every part of the input becomes the part of the same number in ``train/`` and ``heldout/``.

    The hash of a document's folded text decides: so a document stays on its side whatever is added to the corpus, and
    equal texts stand on one side. The figures are counted from the files that were written. ``evaluation`` changes no
    file: what it will need is counted here, where a shortage shows before anything is trained.
    """
    folder = job.path("documents", "parts")
    total = 2 * len(part_paths(folder))
    for number, (name, frame) in enumerate(read_parts(folder)):
        job.runtime.progress(number, total, "parts")
        is_heldout = pl.Series(_is_heldout(frame, split))
        write_part(job.out / "train" / name, frame.filter(~is_heldout))
        write_part(job.out / "heldout" / name, frame.filter(is_heldout))
    stats: dict[str, Any] = {}
    for name in SPLITS:
        counts = _counted(job.out / name)
        stats |= {f"{name}_documents": counts["documents"], f"{name}_bytes": counts["bytes"]}
    documents = stats["train_documents"] + stats["heldout_documents"]
    stats["documents"] = documents
    stats["heldout_share"] = stats["heldout_documents"] / documents if documents else 0.0
    stats["in_both_splits"] = _overlap(job.out)
    stats["heldout_usable"] = _long_enough(job.out / "heldout", evaluation.question_characters)
    stats["heldout_needed"] = evaluation.choices
    stats["heldout_characters"] = evaluation.question_characters
    job.runtime.progress(total, total, "parts")
    return stats


def _is_heldout(frame: pl.DataFrame, split: SplitSpec) -> np.ndarray:
    """Hashes spread evenly over [0, 2^64): the lowest ``heldout_share`` of that range is held out."""
    limit = np.uint64(int(split.heldout_share * 2.0**64))
    return key_hashes(frame, split.salt)["high"] < limit


def _counted(folder: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for _, frame in read_parts(folder, ["text"]):
        counts.update(documents=frame.height, bytes=int(frame["text"].str.len_bytes().sum()))
    return counts


def _long_enough(folder: Path, characters: int) -> int:
    return sum(int((frame["text"].str.len_chars() >= characters).sum()) for _, frame in read_parts(folder, ["text"]))


def _overlap(folder: Path) -> int:
    """Training documents whose folded text is held out as well."""
    heldout = {key for _, frame in read_parts(folder / "heldout", ["text"]) for key in key_hashes(frame).tolist()}
    return sum(
        sum(key in heldout for key in key_hashes(frame).tolist()) for _, frame in read_parts(folder / "train", ["text"])
    )


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:  # noqa: ARG001
    """Both splits hold documents, none stands in both, and the evaluation can make questions."""
    train, heldout, overlap = stats["train_documents"], stats["heldout_documents"], stats["in_both_splits"]
    usable, needed = stats["heldout_usable"], stats["heldout_needed"]
    if not train:
        advice = ": use more text, or a smaller split.heldout_share"
    elif not heldout:
        advice = ": use more text, or a larger split.heldout_share"
    else:
        advice = ""
    return [
        Check(
            "not_empty",
            min(train, heldout) > 0,
            f"{train} documents to train on, {heldout} held out{advice}",
            value=min(train, heldout),
            bound=1,
        ),
        Check("no_overlap", overlap == 0, f"{overlap} documents stand in both splits", value=overlap, bound=0),
        Check(
            "heldout_usable",
            usable >= needed,
            f"{usable} held-out documents have the {stats['heldout_characters']} characters that a question takes; its "
            f"choices come from {needed}"
            + (
                ""
                if usable >= needed
                else ": use more text or a larger split.heldout_share, or lower evaluation.context_characters, "
                "continuation_characters or choices"
            ),
            value=usable,
            bound=needed,
        ),
    ]
