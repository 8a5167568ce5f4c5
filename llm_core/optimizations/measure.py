"""The stage of a technique: trainings without it and with it, in turns, each in a process of its own."""

import json
import math
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec, TrackingSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.optimizations.results import Measured
from llm_core.optimizations.sides import UNTIMED
from llm_core.optimizations.technique import Need, Side
from llm_core.optimizations.trainer_options import HOST_MEMORY
from llm_core.store.files import write_atomically
from llm_core.train.capabilities import TrainingRun, check_stage
from llm_core.train.launching import rank_count
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.spec import CHECKPOINTS, FINAL, SUMMARY, TrainerSpec, derived_digest
from llm_core.train.this_machine import this_machine

TRAINER = "llm_core.optimizations.trainer"
RUNS = "runs.json"
_DONE = "measured.json"
_TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2, "fp8": 2e-2}
"""Precision → the relative difference of two first steps that rounding explains."""
_NEVER = 10**9
NEEDS = {"cuda": "needs an NVIDIA GPU", "ranks": "needs several ranks, and this run has one"}


def build(
    job: Job, before: Side, after: Side, vocab_size: int, seed: int, rounds: int, same: bool, needs: Need
) -> Measured:
    """Train both sides ``rounds`` times, each round with the next seed. A killed attempt keeps what is finished.

    ``same``: both should compute the same numbers. Writes ``runs.json``.
    """
    pair = {"before": before, "after": after}
    tolerance = max(_TOLERANCE[side.training.precision] for side in pair.values())
    left_out = _obstacle(job, pair, needs)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in pair}
    for number in range(0 if left_out else rounds):
        for name in pair if number % 2 == 0 else reversed(pair):
            job.runtime.progress(sum(map(len, found.values())), 2 * rounds, "trainings")
            found[name].append(_trained(job, name, pair[name], vocab_size, seed + number))
    shutil.rmtree(job.work / "runs", ignore_errors=True)  # models and logs, which nobody needs
    (job.out / RUNS).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    clocks = ("tokens_per_second", "memory", "first_seconds", "parameters")
    return Measured(
        left_out=left_out,
        seeds=[] if left_out else [seed + number for number in range(rounds)],
        before=[run["loss"] for run in found["before"]],
        after=[run["loss"] for run in found["after"]],
        deviation=_deviation(found) if same and not left_out and not _depends_on_split(before) else None,
        tolerance=tolerance,
        clocks={name: [{clock: run[clock] for clock in clocks} for run in runs] for name, runs in found.items()},
        device=found["before"][0]["device"] if found["before"] else "",
    )


def _obstacle(job: Job, pair: dict[str, Side], needs: Need) -> str:
    """Why this machine can't train one of the sides; empty if it can."""
    for side in pair.values():
        compute = _compute(job, side)
        if needs == "cuda" and not this_machine(compute.device_type).on_cuda:
            return NEEDS[needs]
        if needs == "ranks" and rank_count(compute) == 1:
            return NEEDS[needs]
        try:
            check_stage(TrainingRun("", side.model, side.training), compute, lambda _: None)
        except PedigreeError as error:
            return str(error)
    return ""


def _compute(job: Job, side: Side) -> ComputeSpec:
    return job.runtime.compute.changed({**side.compute, "checkpoint_every": _NEVER, "keep": {"best": 0, "every": None}})


def _trained(job: Job, name: str, side: Side, vocab_size: int, seed: int) -> dict[str, Any]:
    """What one training measured."""
    work = job.work / "runs" / f"{name}_{seed}"
    done = work / _DONE
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_bytes())
        return found
    compute = _compute(job, side)
    spec = TrainerSpec.of(
        compute,
        model=side.model,
        training=side.training,
        vocab_size=vocab_size,
        seed=seed,
        shards=job.path("shards").resolve(),
        work=work.resolve(),
        tokenizer=job.path("tokenizer", "tokenizer.json").resolve(),
        name=f"{job.stage}, {name}",
        plugins=job.claim.plugins,
        code=job.claim,
        derived=derived_digest(side.model, side.training),
        tracking=TrackingSpec(),
    )
    work.mkdir(parents=True, exist_ok=True)
    runtime = replace(
        job.runtime,
        compute=compute,
        observe=lambda _: None,
        progress=lambda *_: None,
        status=lambda _: None,
        environment={**job.runtime.environment, **side.environment},
        trainer_module=TRAINER,
    )
    compute.target.launch(spec, rank_count(compute), runtime)
    found = _measured(work, side, on_cpu=this_machine(compute.device_type).on_cpu)
    write_atomically(done, json.dumps(found).encode())
    for folder in (CHECKPOINTS, FINAL):  # as large as the model
        shutil.rmtree(work / folder, ignore_errors=True)
    return found


def _measured(work: Path, side: Side, on_cpu: bool) -> dict[str, Any]:
    records, summary = read_metrics(work / METRICS), json.loads((work / SUMMARY).read_bytes())
    timed = records[math.ceil(UNTIMED * len(records)) :]
    speeds = [record["tokens_per_second"] for record in timed if record["tokens_per_second"] is not None]
    # On a CPU, the peak is that of the process. Python and torch are not the step's.
    host = work / HOST_MEMORY
    host_memory = json.loads(host.read_bytes()) if on_cpu and host.exists() else 0
    last = records[-1]
    return {
        "loss": last.get("validation_bits_per_byte", last["validation_loss"]),
        "first": [records[0]["loss"], records[0]["grad_norm"]],
        "tokens_per_second": statistics.median(speeds),
        "memory": records[-2]["memory"] - host_memory,  # the last step also validates
        "first_seconds": records[0]["seconds"],
        "parameters": summary["parameters"],
        "device": summary["device"],
        "tokens": side.training.tokens_of(side.training.steps),
    }


def _deviation(found: dict[str, list[dict[str, Any]]]) -> float:
    """The largest relative difference between the sides in the first step: the same weights, batch and objective."""
    numbers = [
        (one, other)
        for before, after in zip(found["before"], found["after"], strict=True)
        for one, other in zip(before["first"], after["first"], strict=True)
    ]
    if any(None in pair for pair in numbers):
        return 1.0  # a number that is not finite
    return max(abs(one - other) / max(abs(one), abs(other), 1e-12) for one, other in numbers)


def _depends_on_split(side: Side) -> bool:
    """Whether the numbers depend on how a batch is split, or on the kernel: by dropout, or a loss per micro-batch."""
    layers = side.model.layers
    return bool(
        side.model.dropout
        or any(layer.dropout or getattr(layer.mixer, "dropout", 0.0) for layer in layers)
        or any(layer.feed_forward is not None and layer.feed_forward.has_own_loss() for layer in layers)
    )


def same_numbers(results: Measured, bounds: None) -> Verdict:
    """Two ways to compute the same numbers agree in the first step."""
    del bounds
    if results.deviation is None:
        return Verdict(True, results.left_out or "the numbers may differ, so they are not compared")
    return Verdict(
        results.deviation <= results.tolerance,
        f"loss and gradient norm of a first step differ by at most {results.deviation:.1e}",
        results.deviation,
        results.tolerance,
    )
