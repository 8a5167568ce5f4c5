"""The runs of a study, as a stage reads them."""

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.science.runs import Floats, Runs
from llm_core.study.study_run import StudyRun
from llm_core.train.results import TrainingResults
from llm_core.train.validation_windows import WINDOWS


def trained(job: Job, run: StudyRun) -> TrainingResults:
    """The results of a run."""
    return job.inputs[run.role].results(TrainingResults)


def losses(job: Job, runs: Sequence[StudyRun]) -> Floats:
    """The held-out bits per byte of each run; NaN for one that diverged.

    ``PedigreeError`` when runs were validated on different amounts of text: their losses can't be compared.
    """
    amounts = {trained(job, run).validation_tokens: run.role for run in runs}
    if len(amounts) > 1:
        (first, one), (second, other), *_ = amounts.items()
        raise PedigreeError(
            f"{job.stage}: {one} was validated on {first} tokens, but {other} on {second}, so their losses can't be "
            f"compared; `pedigree run --force {one}` trains it again with the present training.validation_tokens"
        )
    found = [trained(job, run).final_validation_bits_per_byte for run in runs]
    return np.array([math.nan if loss is None else loss for loss in found], np.float64)


class Windows(NamedTuple):
    """The validation windows of a run. ``shares``: bits per byte of each over those of all. ``sizes``: bytes."""

    shares: Floats
    sizes: Floats
    documents: list[int]


def windows(job: Job, run: StudyRun) -> Windows | None:
    """The validation windows of a run; None for one that diverged, or that an earlier release made without them."""
    path = job.path(run.role, WINDOWS)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    rows = [row for row in rows if row["bytes"]]
    if not rows or any(row["text_nats"] is None for row in rows):
        return None
    nats, sizes = (np.array([row[name] for row in rows], np.float64) for name in ("text_nats", "bytes"))
    return Windows(nats / sizes / (nats.sum() / sizes.sum()), sizes, [row["document"] for row in rows])


def columns(runs: Sequence[StudyRun], loss: Floats) -> Runs:
    """The runs as columns for a law. Runs of one size and seed are a trunk."""
    return Runs.of(
        [run.parameters for run in runs],
        [run.tokens for run in runs],
        [run.flops for run in runs],
        loss,
        [f"{run.width} {run.seed}" for run in runs],
    )
