"""The stage ``optimization_table``: all measured techniques on one page."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.optimizations.comparing import by_clock, by_loss, mean_loss, middle
from llm_core.optimizations.lines_of_code import lines_of_code
from llm_core.optimizations.results import Measured, OptimizationTable
from llm_core.optimizations.techniques import TECHNIQUES
from llm_core.report.page import write_page
from llm_core.report.sections.made import checks, made, versions
from llm_core.report.sections.techniques import techniques

PAGE, ROWS = "optimizations.html", "optimizations.json"


def build(
    job: Job,
    title: str,
    names: Sequence[str],
    unfit: Mapping[str, str],
    in_recipe: Mapping[str, str],
    tokens: int,
    margin: float,
    loss_margin: float,
) -> OptimizationTable:
    """Write ``optimizations.html`` and ``optimizations.json``.

    ``names``: all rows in order. ``unfit``: row → why it does not fit the recipe. ``in_recipe``: row → the side that is
    the recipe. ``tokens``: of each training. ``margin``, ``loss_margin``: differences that do not matter.
    """
    every = {name: artifact.results(Measured) for name, artifact in job.inputs.items()}
    left_out = {**unfit, **{name: found.left_out for name, found in every.items() if found.left_out}}
    measured = {name: found for name, found in every.items() if not found.left_out}
    others = {name: found for name, found in measured.items() if TECHNIQUES[name].effect == "changes"}
    losses = by_loss(others, loss_margin)
    speed = by_clock(measured, "tokens_per_second", -1, margin)
    memory = by_clock(measured, "memory", 1, margin)
    rows, clocks = [], []
    for name in names:
        found = measured.get(name)
        rows.append(
            {
                "name": name,
                "left_out": left_out.get(name, ""),
                "in_recipe": in_recipe.get(name, ""),
                "before": mean_loss(found.before) if found else None,
                "after": mean_loss(found.after) if found else None,
                "deviation": found.deviation if found else None,
                "tolerance": found.tolerance if found else None,
                "loss": losses.get(name),
                "rounds": len(found.seeds) if found else 0,
            }
        )
        clocks.append({"name": name, "lines": lines_of_code(TECHNIQUES[name].code)})
        if found:
            clocks[-1] |= {"speed": speed.get(name), "memory": memory.get(name)}
            clocks[-1] |= {side: _clocks(found, side) for side in ("before", "after")}
    devices = sorted({found.device for found in measured.values()})
    table = OptimizationTable(rows=rows, clocks=clocks, device=", ".join(devices))
    (job.out / ROWS).write_text(json.dumps(table.model_dump(), indent=1) + "\n", encoding="utf-8")
    page = {
        "techniques": techniques(table, tokens, margin, loss_margin),
        "checks": checks(job),
        "made": made(job),
        "versions": versions(job),
    }
    lead = "What each technique of model and trainer costs and brings, on the machine that made this page."
    write_page(job, PAGE, "optimizations", title, lead, page)
    return table


def something_measured(results: OptimizationTable, bounds: None) -> Verdict:
    """This machine could measure a technique."""
    del bounds
    count = sum(not row["left_out"] for row in results.rows)
    return Verdict(count > 0, f"{count} of {len(results.rows)} techniques were measured", count)


def _clocks(found: Measured, side: str) -> dict[str, Any]:
    return {name: middle(found, side, name) for name in ("tokens_per_second", "memory", "first_seconds", "parameters")}
