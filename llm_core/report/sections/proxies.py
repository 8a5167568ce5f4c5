"""The sections about the proxy runs: what they show, and how long they took."""

import json
from collections.abc import Mapping
from typing import Any

from llm_core.graph.job import Job
from llm_core.report import facts
from llm_core.report.ablation_plots import ablation_pictures
from llm_core.report.ablation_report import best_learning_rate
from llm_core.report.blocks import Block, Cell, Marked, Pair, Row, Section, Table, text
from llm_core.report.formatting import NONE, duration, exact, in_bytes, loss, short, signed


def ablations(job: Job) -> Section | None:
    """Losses of the variants, and of the sweep over learning rates."""
    found = facts.proxies(job.inputs)
    if found is None:
        return None
    results, timing = found
    best = best_learning_rate(results)
    variants = []
    for line in results["variants"]:
        is_baseline, difference = line["name"] == results["baseline"], line["difference"]
        told = "baseline" if is_baseline else NONE if difference is None else signed(difference)
        verdict = "" if is_baseline or not difference else "better" if difference < 0 else "worse"
        changes = Cell(_changes(line, timing["variants"][line["name"]]), "mono")
        cells = (line["name"], changes, loss(line["validation_loss"]), Cell(told, verdict), short(line["parameters"]))
        variants.append(Row(cells, "ours" if is_baseline else ""))
    rates = [
        Row(
            (f"{line['learning_rate']:g}", loss(line["validation_loss"]), loss(line["training_loss"])),
            "ours" if line["learning_rate"] == best else "",
        )
        for line in results["learning_rates"]
    ]
    tokens = " or ".join(sorted({short(line["tokens"]) for line in (*results["variants"], *results["learning_rates"])}))
    blocks: list[Block] = [
        text(
            f"Proxy runs of {tokens} tokens. A difference is the validation loss minus that of the baseline, in nats "
            "per token, from one seed each: small ones may be noise. Variants that differ only in ",
            Marked("compute", "code"), " are one run.",
        )
    ]  # fmt: skip
    if variants:
        blocks.append(Table(("Variant", "Changes", "Validation loss", "Difference", "Parameters"), variants, names=2))
    blocks.append(Pair([picture for picture in ablation_pictures(results, timing) if not picture.clock]))
    if rates:
        blocks.append(Table(("Peak learning rate", "Validation loss", "Training loss"), rates))
    return Section("Ablations", blocks)


def ablation_times(job: Job) -> Section | None:
    """Time, speed and memory of the same runs."""
    found = facts.proxies(job.inputs)
    if found is None:
        return None
    results, timing = found
    rows = [
        Row(_clock(name, clock), "ours" if name == results["baseline"] else "")
        for name, clock in timing["variants"].items()
    ]
    rows += [Row(_clock(f"learning rate {rate}", clock)) for rate, clock in timing["learning_rates"].items()]
    clocks = [picture for picture in ablation_pictures(results, timing) if picture.clock]
    return Section("Ablations", [Table(("Run", "Wall time", "Tokens/s", "Peak memory"), rows), Pair(clocks)])


def _clock(name: str, clock: Mapping[str, Any]) -> tuple[str, ...]:
    speed, memory = exact(clock["tokens_per_second"]), in_bytes(clock["peak_memory_bytes"])
    return name, duration(clock["seconds"]), speed, memory


def _changes(line: Mapping[str, Any], clock: Mapping[str, Any]) -> str:
    """A variant's overrides of results and ``compute``; or the variant that is the same run."""
    if clock["same_run_as"] is not None:
        return f"the same run as {clock['same_run_as']}"
    changed = [*line["changes"].items(), *((f"compute.{field}", value) for field, value in clock["compute"].items())]
    return ", ".join(f"{field}: {json.dumps(value)}" for field, value in changed) or NONE
