"""A training run as a stage: the full run, the proxy runs, and what goes on from the full run.

Whoever looks at the checks of a finished run imports this module, so it leaves torch to those who train.
"""

import json
import math
import shutil
import statistics
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check
from llm_core.tokens.batch_sizes import tokens_before
from llm_core.train.data import Data, describe, mean_sequence_length, open_data
from llm_core.train.launching import launch, rank_count
from llm_core.train.metrics import LEFT_OUT_REASON, METRICS, read_metrics
from llm_core.train.spec import BAD_BATCHES, CHECKPOINTS, FINAL, PROFILE, SAMPLES, SUMMARY, TrainerSpec
from llm_core.train.speed import mfu
from llm_core.train.tracking import require_key

BRANCH_POINTS = "branch_points"
"""The folder of the artifact with the checkpoints that branches begin with."""

_END_SHARE = 0.05
"""The final loss is the mean over this share of the steps."""

CURVE = ("step", "loss", "validation_loss", "lr", "grad_norm", "skipped", "batch")
"""Fields of a line of metrics that follow from the run alone."""


def build(job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int) -> dict[str, Any]:
    """Train ``model`` on the input ``shards``; going on where a killed attempt left its checkpoints."""
    return _train(job, model, training, vocab_size, seed, None)


def build_branch(
    job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int, from_step: int
) -> dict[str, Any]:
    """Go on from the state that the input ``start``, a training run, keeps of ``from_step``."""
    state = start_folder({"from_step": from_step}, job.path("start"))
    return _train(job, model, training, vocab_size, seed, state)


def build_longer(job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int) -> dict[str, Any]:
    """Train the finished model of the input ``start`` on, as ``model``: the same weights with other positions."""
    return _train(job, model, training, vocab_size, seed, start_folder({}, job.path("start")))


def start_folder(config: Mapping[str, Any], start: Path) -> Path:
    """What a run with ``config`` begins with, of the artifact in ``start``: a state of it, or its finished model."""
    return start / BRANCH_POINTS / _checkpoint(config["from_step"]) if "from_step" in config else start


def _train(
    job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int, start: Path | None
) -> dict[str, Any]:
    from llm_core.train.start import check_start

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
        start=start and start.resolve(),
        tokenizer=job.path("tokenizer", "tokenizer.json").resolve(),
        name=job.stage,
        identity=job.identity,
        tracking=job.runtime.tracking,
    )
    data = open_data(spec, ranks)
    check_start(spec)
    require_key(spec.tracking)
    launch(spec, ranks, job.runtime)
    return collect(job, spec, data)


def collect(job: Job, spec: TrainerSpec, data: Data) -> dict[str, Any]:
    """Copy what the finished run in ``spec.work`` left into ``job.out``; returns its statistics."""
    model, training, vocab_size = spec.model, spec.training, spec.vocab_size
    for name in ("model.safetensors", "model.json"):
        shutil.copyfile(spec.work / FINAL / name, job.out / name)
    shutil.copyfile(spec.work / METRICS, job.out / METRICS)
    for seen in (spec.work / BAD_BATCHES, spec.work / SAMPLES, *spec.work.glob(f"{PROFILE}/*.json")):
        if seen.exists() and seen.stat().st_size:
            kept = job.out / seen.relative_to(spec.work)
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(seen, kept)
    for step in training.branch_points:
        name = _checkpoint(step)
        kept = job.out / BRANCH_POINTS / name
        shutil.copytree(spec.work / CHECKPOINTS / name, kept, dirs_exist_ok=True)
    summary = json.loads((spec.work / SUMMARY).read_bytes())
    for offline in spec.work.glob("wandb/offline-run-*"):
        shutil.copytree(offline, job.out / "wandb" / offline.name, dirs_exist_ok=True)
    records = read_metrics(job.out / METRICS)
    figures = training_stats(records)
    return {
        **summary,
        **figures,
        **describe(data.train, training),
        "planned_tokens": tokens_before(training, training.steps),
        "mfu": mfu(
            model,
            vocab_size,
            round(mean_sequence_length(training)),
            _ordinary_speed(records, training),
            summary["device"],
            summary["ranks"],
        ),
    }


def _ordinary_speed(records: list[dict[str, Any]], training: TrainingSpec) -> float:
    """Tokens per second of the steps whose positions are single tokens; 0 where there are none."""
    bags = training.superposition.steps if training.superposition else 0
    return _median_speed([record for record in records if record["step"] > bags])


def _median_speed(records: list[dict[str, Any]]) -> float:
    speeds = [record["tokens_per_second"] for record in records if record["tokens_per_second"] is not None]
    return statistics.median(speeds) if speeds else 0.0


def _checkpoint(step: int) -> str:
    return f"step_{step:08d}"


def training_stats(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of a finished run from its metrics; a loss is None when there is no finite one.

    Skipped steps have no loss and count in no mean: how many of them may be bad is for the check ``bad_steps``. Those
    among them that were left out after a rollback are not bad themselves.
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
        **({"start_validation_loss": started} if (started := records[0].get("start_validation_loss")) else {}),
        "skipped_steps": sum(record["skipped"] for record in records),
        "left_out_steps": sum(record.get("reason") == LEFT_OUT_REASON for record in records),
        "tokens_per_second": _median_speed(records),
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
    drop = first - final if None not in (first, final, validation) else None
    fell = Check(
        "loss_fell",
        drop is not None and drop >= bounds.min_loss_drop,
        "no finite losses to compare" if drop is None else f"the loss fell by {drop:.3f} nats",
        value=drop,
        bound=bounds.min_loss_drop,
    )
    return [*_sound(stats, bounds), fell]


def checks_of_continued(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:
    """A run that began with another's weights: its steps were good ones, and its end is better than its start."""
    before, after = stats.get("start_validation_loss"), stats["final_validation_loss"]
    gain = None if before is None or after is None else before - after
    gained = Check(
        "heldout_loss_fell",
        gain is not None and gain > 0,
        "no finite losses to compare"
        if gain is None
        else f"{_nats(before)} on held-out text at the start, {_nats(after)} at the end",
        value=gain,
        bound=0.0,
    )
    return [*_sound(stats, bounds), gained]


def _sound(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:
    first, final, validation = stats["first_loss"], stats["final_loss"], stats["final_validation_loss"]
    left_out = stats.get("left_out_steps", 0)  # which runs of before did not count
    skipped = stats["skipped_steps"] - left_out
    bad = skipped / stats["steps"]
    return [
        Check(
            "loss_finite",
            None not in (first, final, validation),
            f"loss {_nats(first)} at the start, {_nats(final)} at the end, {_nats(validation)} on held-out text",
        ),
        Check(
            "bad_steps",
            bad <= bounds.max_bad_step_share,
            (f"{skipped} of {stats['steps']} steps were skipped as bad" if skipped else "no step was skipped as bad")
            + (f", and {left_out} were left out after spikes" if left_out else "")
            + (f"; {BAD_BATCHES} says what bad steps and spikes read" if skipped or left_out else ""),
            value=bad,
            bound=bounds.max_bad_step_share,
        ),
        Check(
            "all_tokens_seen",
            stats["tokens"] == stats["planned_tokens"],
            f"{stats['tokens']:,} of {stats['planned_tokens']:,} tokens"
            + (f", but for {left_out} batches that were left out" if left_out else ""),
            value=float(stats["tokens"]),
            bound=float(stats["planned_tokens"]),
        ),
    ]


def _nats(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.3f}"
