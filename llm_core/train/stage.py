"""A training run as a stage: the full run and the proxy runs alike.

Whoever looks at the checks of a finished run imports this module, so it leaves torch to those who train.
"""

import json
import math
import shutil
import statistics
from hashlib import sha256
from typing import Any

from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check
from llm_core.tokens.batch_sizes import tokens_before
from llm_core.train.data import describe, mean_sequence_length, open_data
from llm_core.train.launching import launch, rank_count
from llm_core.train.metrics import METRICS, read_metrics
from llm_core.train.spec import FINAL, SUMMARY, TrainerSpec
from llm_core.train.speed import mfu
from llm_core.train.tracking import require_key

_END_SHARE = 0.05
"""The final loss is the mean over this share of the steps."""

CURVE = ("step", "loss", "validation_loss", "lr", "grad_norm", "skipped", "batch")
"""Fields of a line of metrics that follow from the run alone."""


def build(job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int) -> dict[str, Any]:
    """Train ``model`` on the input ``shards``; going on where a killed attempt left its checkpoints."""
    compute = job.runtime.compute
    ranks = rank_count(compute)
    spec = TrainerSpec.of(
        compute,
        model=model,
        training=training,
        vocab_size=vocab_size,
        seed=seed,
        shards=job.path("shards").resolve(),
        work=job.work.resolve(),
        name=job.stage,
        tracking=job.runtime.tracking,
    )
    data = open_data(spec, ranks)
    require_key(spec.tracking)
    launch(spec, ranks, job.runtime)
    for name in ("model.safetensors", "model.json"):
        shutil.copyfile(spec.work / FINAL / name, job.out / name)
    shutil.copyfile(spec.work / METRICS, job.out / METRICS)
    summary = json.loads((spec.work / SUMMARY).read_bytes())
    for offline in spec.work.glob("wandb/offline-run-*"):
        shutil.copytree(offline, job.out / "wandb" / offline.name, dirs_exist_ok=True)
    figures = training_stats(read_metrics(job.out / METRICS))
    return {
        **summary,
        **figures,
        **describe(data.train, training),
        "planned_tokens": tokens_before(training, training.steps),
        "mfu": mfu(
            model,
            vocab_size,
            round(mean_sequence_length(training)),
            figures["tokens_per_second"],
            summary["device"],
            summary["ranks"],
        ),
    }


def training_stats(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of a finished run from its metrics; a loss is None when there is no finite one.

    Skipped steps have no loss and count in no mean: how many there may be is for the check ``bad_steps``.
    """
    losses = [record["loss"] for record in records if record["loss"] is not None]
    end = [record["loss"] for record in records[-max(1, math.ceil(len(records) * _END_SHARE)) :]]
    finite_end = [loss for loss in end if loss is not None]
    validation = [record["validation_loss"] for record in records if "validation_loss" in record]
    return {
        "steps": records[-1]["step"],
        "tokens": records[-1]["tokens"],
        "first_loss": losses[0] if losses else None,
        "final_loss": statistics.fmean(finite_end) if finite_end else None,
        "final_validation_loss": validation[-1],
        "skipped_steps": sum(record["skipped"] for record in records),
        "tokens_per_second": statistics.median(record["tokens_per_second"] for record in records),
        "seconds_training": sum(record["seconds"] for record in records),
        "curve": _curve_digest(records),
    }


def _curve_digest(records: list[dict[str, Any]]) -> str:
    """What ``metrics.jsonl`` says beside clock times: the file is volatile, and its readers must notice a change."""
    lasting = [[record.get(name) for name in CURVE] for record in records]
    return sha256(json.dumps(lasting).encode()).hexdigest()[:32]


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:
    """The run learned something, and its steps were good ones."""
    first, final, validation = stats["first_loss"], stats["final_loss"], stats["final_validation_loss"]
    finite = None not in (first, final, validation)
    drop = first - final if finite else None
    bad = stats["skipped_steps"] / stats["steps"]
    return [
        Check(
            "loss_finite",
            finite,
            f"loss {_nats(first)} at the start, {_nats(final)} at the end, {_nats(validation)} on held-out text",
        ),
        Check(
            "loss_fell",
            drop is not None and drop >= bounds.min_loss_drop,
            "no finite losses to compare" if drop is None else f"the loss fell by {drop:.3f} nats",
            value=drop,
            bound=bounds.min_loss_drop,
        ),
        Check(
            "bad_steps",
            bad <= bounds.max_bad_step_share,
            f"{stats['skipped_steps']} of {stats['steps']} steps were skipped as bad",
            value=bad,
            bound=bounds.max_bad_step_share,
        ),
        Check(
            "all_tokens_seen",
            stats["tokens"] == stats["planned_tokens"],
            f"{stats['tokens']:,} of {stats['planned_tokens']:,} tokens",
            value=float(stats["tokens"]),
            bound=float(stats["planned_tokens"]),
        ),
    ]


def _nats(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.3f}"
