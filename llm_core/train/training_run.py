"""Training runs as stages (the full run, a study's, branches, longer contexts), and the checks of their results.

Checks of finished runs import this module without torch, so only the functions that train import torch.
"""

import json
import math
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_core.errors import PedigreeError
from llm_core.experiment.chat import CHAT_FILE, TEMPLATE_FILE
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.store.files import write_atomically
from llm_core.store.work import OWN
from llm_core.tokens.batch_sizes import tokens_before
from llm_core.train.callbacks.spec import BAD_BATCHES
from llm_core.train.capabilities import TrainingRun, check_stage
from llm_core.train.data import Data, data_statistics, mean_sequence_length, open_data
from llm_core.train.forecast_band import ForecastBand
from llm_core.train.launching import rank_count
from llm_core.train.metrics_log import CURVE, LEFT_OUT_REASON, METRICS, read_metrics
from llm_core.train.requirements import check_tracking
from llm_core.train.results import TrainingResults
from llm_core.train.spec import CHECKPOINTS, FINAL, SUMMARY, TrainerSpec, checkpoint_name, derived_digest, result_fields
from llm_core.train.utilization import mfu
from llm_core.train.validation_windows import WINDOWS

if TYPE_CHECKING:
    from llm_core.train.checkpoint_folder import CheckpointFolder

BRANCH_POINTS = "branch_points"
"""The folder in the artifact with the checkpoints at branch points."""

_END_SHARE = 0.05
"""The final loss is the mean over this share of the steps, at the end."""

SPREAD = (
    *("parallel", "micro_batch", "compile", "attention_backend"),
    *("activation_checkpointing", "activation_checkpointing_every", "reshard_after_forward"),
)
"""Fields of ``compute`` that affect time and memory; the results contain their values."""


def build(job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int) -> TrainingResults:
    """Train ``model`` on the input ``shards``. Resumes from the checkpoints of an earlier attempt."""
    return _train(job, model, training, vocab_size, seed, None)


def build_branch(
    job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int, from_step: int
) -> TrainingResults:
    """Continue from the state at ``from_step`` of the input ``start``, a training run."""
    state = job.path("start", *start_parts({"from_step": from_step}))
    return _train(job, model, training, vocab_size, seed, state)


def build_longer(job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int) -> TrainingResults:
    """Continue training the final weights of the input ``start``: on other shards, or with other positions."""
    return _train(job, model, training, vocab_size, seed, job.path("start", *start_parts({})))


def start_parts(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The folder in the artifact ``start`` from which a run with ``config`` starts: a state, or the final model."""
    return (BRANCH_POINTS, checkpoint_name(config["from_step"])) if "from_step" in config else ()


def _train(
    job: Job, model: ModelSpec, training: TrainingSpec, vocab_size: int, seed: int, start: Path | None
) -> TrainingResults:
    job.runtime.status("starting the trainer")
    from llm_core.train.warm_start import check_start
    from llm_core.train.work_folder import recorded_outputs

    compute = job.runtime.compute
    check_stage(TrainingRun(f"{job.stage}: ", model, training), compute, job.runtime.log)
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
        plugins=(*job.claim.plugins, *job.runtime.tracking.plugins),
        code=job.claim,
        derived=derived_digest(model, training),
        tracking=job.runtime.tracking,
    )
    data = open_data(spec, ranks)
    check_start(spec)
    check_tracking(spec.tracking)
    band = ForecastBand(job.gates, training.steps, job.runtime.log)
    compute.target.launch(spec, ranks, replace(job.runtime, observe=band.watching(job.runtime.observe)))
    results = collect(job, spec, data)
    own = [*_checkpoints(spec, job).own_paths(), *recorded_outputs(spec.work)]
    names = [path.relative_to(spec.work).as_posix() for path in own]
    write_atomically(spec.work / OWN, json.dumps(names).encode())  # the commit may remove these
    return results


def collect(job: Job, spec: TrainerSpec, data: Data) -> TrainingResults:
    """Copy the outputs of the finished run in ``spec.work`` to ``job.out``; returns its results."""
    from llm_core.train.work_folder import recorded_outputs

    model, training, vocab_size = spec.model, spec.training, spec.vocab_size
    for name in ("model.safetensors", "model.json", WINDOWS):
        shutil.copyfile(spec.work / FINAL / name, job.out / name)
    for name in (TEMPLATE_FILE, CHAT_FILE):  # only shards of conversations have these
        if (spec.shards / name).is_file():
            shutil.copyfile(spec.shards / name, job.out / name)
    for output in recorded_outputs(spec.work):
        if output.stat().st_size:
            copy = job.out / output.relative_to(spec.work)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(output, copy)
    _copy_branch_points(spec, job)
    summary = json.loads((spec.work / SUMMARY).read_bytes())
    records = read_metrics(job.out / METRICS)
    return TrainingResults(
        **summary,
        **training_stats(records),
        validation_tokens=training.validation_tokens,
        **data_statistics(data.train, training),
        compute={name: getattr(spec, name) for name in SPREAD},
        planned_tokens=tokens_before(training, training.steps),
        mfu=mfu(
            model,
            vocab_size,
            round(mean_sequence_length(training)),
            _token_speed(records, training),
            summary["device"],
            summary["ranks"],
        ),
    )


def _checkpoints(spec: TrainerSpec, job: Job) -> "CheckpointFolder":
    from llm_core.train.checkpoint_folder import CheckpointFolder

    return CheckpointFolder(spec.work / CHECKPOINTS, json.loads(json.dumps(result_fields(spec))), job.runtime.log)


def _copy_branch_points(spec: TrainerSpec, job: Job) -> None:
    from llm_core.train.checkpoint_folder import copy_checkpoint

    own = _checkpoints(spec, job).entries().own
    for step in spec.training.branch_points:
        if step not in own:
            raise PedigreeError(
                f"{spec.work / CHECKPOINTS}: this run's checkpoint of the branch point {step} is missing or damaged; "
                "move its folder away, and run again: the run starts from the beginning"
            )
        copy_checkpoint(own[step], job.out / BRANCH_POINTS / checkpoint_name(step))


def _token_speed(records: list[dict[str, Any]], training: TrainingSpec) -> float:
    """Median tokens per second of the steps without superposition; 0 when there are none."""
    bags = training.superposition.steps if training.superposition else 0
    return _median_speed([record for record in records if record["step"] > bags])


def _median_speed(records: list[dict[str, Any]]) -> float:
    speeds = [record["tokens_per_second"] for record in records if record["tokens_per_second"] is not None]
    return statistics.median(speeds) if speeds else 0.0


def training_stats(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Statistics of a finished run from its metrics. A loss is None when it is not finite.

    Skipped steps have no loss, so means exclude them. The check ``bad_steps`` limits their number; steps left out after
    a rollback are not bad.
    """
    losses = [record["loss"] for record in records if record["loss"] is not None]
    end = [record["loss"] for record in records[-max(1, math.ceil(len(records) * _END_SHARE)) :]]
    finite_end = [loss for loss in end if loss is not None]
    validation = [record["validation_loss"] for record in records if "validation_loss" in record]
    bits = [record["validation_bits_per_byte"] for record in records if "validation_bits_per_byte" in record]
    return {
        "steps": records[-1]["step"],
        "tokens": records[-1]["tokens"],
        "first_loss": losses[0] if losses else None,
        "final_loss": statistics.fmean(finite_end) if finite_end else None,
        "final_validation_loss": validation[-1],
        **({"final_validation_bits_per_byte": bits[-1]} if bits else {}),
        **({"start_validation_loss": started} if (started := records[0].get("start_validation_loss")) else {}),
        "skipped_steps": sum(record["skipped"] for record in records),
        "left_out_steps": sum(record.get("reason") == LEFT_OUT_REASON for record in records),
        "tokens_per_second": _median_speed(records),
        "seconds_training": sum(record["seconds"] for record in records),
        "curve": _curve_digest(records),
    }


def _curve_digest(records: list[dict[str, Any]]) -> str:
    """A digest of the ``CURVE`` fields. ``metrics.jsonl`` is volatile, but its readers must notice a change of them."""
    curve = [[record.get(name) for name in CURVE] for record in records]
    return sha256(json.dumps(curve).encode()).hexdigest()[:32]


def loss_finite(results: TrainingResults, bounds: ChecksSpec) -> Verdict:
    """The losses at the start and at the end are finite."""
    del bounds
    first, final, validation = results.first_loss, results.final_loss, results.final_validation_loss
    return Verdict(
        None not in (first, final, validation),
        f"loss {_nats(first)} at the start, {_nats(final)} at the end, {_nats(validation)} in validation",
    )


def bad_steps(results: TrainingResults, bounds: ChecksSpec) -> Verdict:
    """Few steps were skipped as bad. Steps left out after a rollback are not bad."""
    left_out = results.left_out_steps
    skipped = results.skipped_steps - left_out
    bad = skipped / results.steps
    return Verdict(
        bad <= bounds.max_bad_step_share,
        (f"{skipped} of {results.steps} steps were skipped as bad" if skipped else "no step was skipped as bad")
        + (f", and {left_out} were left out after spikes" if left_out else "")
        + (f"; {BAD_BATCHES} lists what bad steps and spikes read" if skipped or left_out else ""),
        value=bad,
        bound=bounds.max_bad_step_share,
    )


def all_tokens_seen(results: TrainingResults, bounds: ChecksSpec) -> Verdict:
    """The run read the planned number of tokens."""
    del bounds
    left_out = results.left_out_steps
    return Verdict(
        results.tokens == results.planned_tokens,
        f"{results.tokens:,} of {results.planned_tokens:,} tokens"
        + (f", except {left_out} batches that were left out" if left_out else ""),
        value=float(results.tokens),
        bound=float(results.planned_tokens),
    )


def loss_fell(results: TrainingResults, bounds: ChecksSpec) -> Verdict:
    """A run from new weights reduced its loss."""
    first, final, validation = results.first_loss, results.final_loss, results.final_validation_loss
    drop = None if first is None or final is None or validation is None else first - final
    return Verdict(
        drop is not None and drop >= bounds.min_loss_drop,
        "no finite losses to compare" if drop is None else f"the loss fell by {drop:.3f} nats",
        value=drop,
        bound=bounds.min_loss_drop,
    )


def heldout_loss_fell(results: TrainingResults, bounds: ChecksSpec) -> Verdict:
    """A run from other weights reduced its validation loss."""
    del bounds
    before, after = results.start_validation_loss, results.final_validation_loss
    gain = None if before is None or after is None else before - after
    return Verdict(
        gain is not None and gain > 0,
        "no finite losses to compare"
        if gain is None
        else f"validation loss {_nats(before)} at the start, {_nats(after)} at the end",
        value=gain,
        bound=0.0,
    )


def _nats(loss: float | None) -> str:
    return "not finite" if loss is None else f"{loss:.3f}"
