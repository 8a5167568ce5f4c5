"""The sections about the training run: its settings and curves, and how it used the machine."""

import json
from collections.abc import Mapping
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.experiment.base import flat
from llm_core.experiment.model import ModelSpec
from llm_core.graph.job import Job
from llm_core.report import facts, read, training_plots
from llm_core.report.blocks import Block, Facts, Pair, Section, Table, warning
from llm_core.report.formatting import exact, in_bytes, loss, percent
from llm_core.report.read import Inputs
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.results import TrainingResults

Pairs = list[tuple[str, str]]


def training(job: Job) -> Section | None:
    """Settings, curves and model of the full run, and the runs that continue it."""
    if read.TRAINED not in job.inputs:
        return None
    inputs, steps = job.inputs, _steps(job)
    blocks: list[Block] = [Facts(settings(inputs))]
    if steps:
        curves = Pair((training_plots.learning_rate(steps), training_plots.gradient_norm(steps)))
        blocks += [training_plots.loss(steps), curves]
    else:
        blocks.append(warning(f"There are no curves: {METRICS} was found damaged, and nothing of it is shown."))
    blocks.append(Facts(model(inputs), "Model", tight=True))
    rows = [
        (
            role,
            exact(read.run(artifact).steps),
            exact(artifact.manifest.config["training"]["sequence_length"]),
            loss(read.run(artifact).start_validation_loss),
            loss(read.run(artifact).final_validation_loss),
        )
        for role, artifact in facts.continued(inputs)
    ]
    if rows:
        columns = ("Run", "Last step", "Sequence length", "Validation loss, start", "End")
        blocks.append(Table(columns, rows, caption="Runs that continue this run"))
    return Section("Training", blocks)


def speed(job: Job) -> Section | None:
    """How the run used the machine."""
    if read.TRAINED not in job.inputs:
        return None
    run, steps = read.trained(job.inputs), _steps(job)
    rows = [
        ("Device", device(run)),
        ("Peak memory", in_bytes(run.peak_memory_bytes)),
        *([("Model FLOPs utilisation", percent(run.mfu))] if run.mfu is not None else []),
    ]
    return Section("Speed", [Facts(rows), *([training_plots.throughput(steps)] if steps else [])])


def device(run: TrainingResults) -> str:
    """The device that trained the model."""
    return str(run.device) if run.ranks == 1 else f"{run.ranks} × {run.device}"


def _steps(job: Job) -> list[dict[str, Any]]:
    """The lines of the full run's metrics. Empty when they are damaged."""
    if METRICS in job.damaged_files.get(read.TRAINED, {}):
        return []
    path = job.path(read.TRAINED, METRICS)
    steps = read_metrics(path)
    if not steps:
        raise PedigreeError(f"{path}: contains no step; make pretrained_model again")
    return steps


def settings(inputs: Inputs) -> Pairs:
    """Settings and results of the run."""
    run, config = read.trained(inputs), inputs[read.TRAINED].manifest.config["training"]
    optimizer, schedule = config["optimizer"], config["schedule"]
    bits = run.final_validation_bits_per_byte
    warmup = f", {schedule['warmup_steps']} warm-up" if schedule["warmup_steps"] else ""
    cooldown = f", {schedule['cooldown_steps']} cooldown" if schedule.get("cooldown_steps") else ""
    return [
        ("Steps", exact(run.steps)),
        ("Tokens per step", _phases(config, "batch_schedule", "batch_tokens")),
        *_data(run),
        ("Sequence length", _phases(config, "sequence_schedule", "sequence_length")),
        *_bags(config),
        ("Optimiser", f"{optimizer['kind']}, decay {optimizer['weight_decay']:g}"),
        ("Schedule", f"{schedule['kind']}, peak {optimizer['lr']:g}{warmup}{cooldown}"),
        ("Precision", config["precision"]),
        *([("Validation loss, start", loss(start))] if (start := run.start_validation_loss) is not None else []),
        ("Loss, first step", loss(run.first_loss)),
        ("Loss, end", loss(run.final_loss)),
        ("Validation loss, end", loss(run.final_validation_loss)),
        *([("Validation, bits per byte, end", f"{bits:.4f}")] if bits is not None else []),
        ("Skipped steps", exact(run.skipped_steps)),
        *([("Left out after rollbacks, of these", exact(left))] if (left := run.left_out_steps) else []),
    ]


def model(inputs: Inputs) -> Pairs:
    """The architecture from its configuration, without unset and derived fields."""
    config = inputs[read.TRAINED].manifest.config["model"]
    fields = {name: value for name, value in config.items() if name in ModelSpec.model_fields}
    given = {name: value for name, value in flat(fields).items() if value not in (None, [])}
    return [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in given.items()]


def _data(run: TrainingResults) -> Pairs:
    """The data of a run: passes and share per source, and the share of padding in its batches."""
    sources = run.sources
    mixed = list(sources) != ["train"]  # a mixture names its sources; without a mixture, the whole split is one source
    return [
        (
            f"Passes over {name}" if mixed else "Passes over the data",
            f"{found['epochs']:.2f}" + (f", {percent(found['share'])} of the sequences" if mixed else ""),
        )
        for name, found in sources.items()
    ] + [
        (f"Padding, {name}" if mixed else "Padding", f"{percent(found['padding_share'])} of the batches")
        for name, found in sources.items()
        if "padding_share" in found
    ]


def _bags(config: Mapping[str, Any]) -> Pairs:
    """The phase in which positions are bags of tokens, if there is one."""
    bags = config.get("superposition")
    return [("Superposition", f"bags of {bags['tokens']} tokens to step {exact(bags['steps'])}")] if bags else []


def _phases(config: Mapping[str, Any], schedule: str, field: str) -> str:
    """A setting that may change with the steps."""
    phases = config.get(schedule) or [{"from_step": 0, field: config[field]}]
    return ", ".join(
        exact(phase[field]) + (f" from step {exact(phase['from_step'] + 1)}" if phase["from_step"] else "")
        for phase in phases
    )
