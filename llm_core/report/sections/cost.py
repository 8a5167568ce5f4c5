"""The section about time and money."""

from collections.abc import Mapping
from typing import Any

from llm_core.graph.job import Job
from llm_core.report import facts, read
from llm_core.report.blocks import Row, Section, Table, Tile, Tiles, note
from llm_core.report.formatting import NONE, dollars, duration, share, short
from llm_core.report.training_plots import times


def cost(job: Job, headline: Mapping[str, Any], price_per_gpu_hour: float) -> Section | None:
    """Time per stage, GPU hours, and what they cost. ``price_per_gpu_hour``: 0 if unknown."""
    if read.TRAINED not in job.inputs:
        return None
    run, total = read.trained(job.inputs), headline["seconds_total"]
    stages = facts.stage_seconds(job.inputs)
    gpu_hours, price = headline["gpu_hours"], headline["cost_dollars"]
    spent = f"{gpu_hours:.3g}" if gpu_hours else NONE, dollars(price) if price else NONE
    if gpu_hours is None:
        tile = Tile("Cost of training", "no GPU", "trained on the CPU")
        told = "Training ran on the CPU: no GPU hour was spent."
    elif price is None:
        tile = Tile("Cost of training", f"{spent[0]} GPU h", "no price is set (compute.price_per_gpu_hour)")
        told = "Set compute.price_per_gpu_hour to see what the GPU hours cost."
    else:
        tile = Tile("Cost of training", spent[1], f"{spent[0]} GPU hours")
        told = f"At {dollars(price_per_gpu_hour)} per GPU hour. Only the steps of the full run are counted."
    trained = job.inputs[read.TRAINED].manifest.stage
    rows = [
        Row((name, duration(seconds), share(seconds, total), *(spent if name == trained else (NONE, NONE))))
        for name, seconds in sorted(stages, key=lambda row: -row[1])
    ]
    rows.append(Row(("all", duration(total), "100%", *spent), "total"))
    speed = f"{short(run.tokens_per_second)} tokens/s, whole graph {duration(total)}"
    return Section(
        "Time and cost",
        [
            Tiles((Tile("Training time", duration(headline["seconds_training"]), speed), tile)),
            times(stages),
            Table(("Stage", "Time", "Share", "GPU hours", "Cost"), rows),
            note(f"{told} A stage that was found in the store counts with the time of its build."),
        ],
    )
