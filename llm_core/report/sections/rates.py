"""The section about the learning rates that the study tried."""

from math import exp
from typing import Any

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Marked, Pair, Section, Table, note, text
from llm_core.report.formatting import NONE, percent
from llm_core.report.study_plots import sweep
from llm_core.study.results import RateStudy

UNKNOWN = "not known"
DIAMOND = " Diamond: the lowest point of the parabola, with its 90% interval."


def rates(job: Job) -> Section | None:
    """A parabola for each sweep, and what the launched rate is expected to lose."""
    found, noise = read.rates(job.inputs), read.noise(job.inputs)
    if found is None:
        return None
    if not found.sweeps:
        told = text(
            "No size has a sweep of learning rates, so nothing is known about the launched one. Give some sizes of the "
            "study ", Marked("rates: [0.5, 2]", "code"), ".",
        )  # fmt: skip
        return Section("Learning rates", [told])
    known = noise is not None and noise.sd is not None
    assumed = "" if known else f" No size has several seeds, so a noise of {percent(found.noise)} was assumed."
    blocks: list[Block] = [
        text(_said(found, job.inputs[read.RATES].manifest.config["rate"])),
        Pair([sweep(row, found.noise if known else None) for row in found.sweeps]),
        Table(
            ("Width", "Multiples tried", "Best multiple", "90% interval", "Lost by the own rate", "Best at an edge"),
            [_cells(row) for row in found.sweeps],
        ),
        note(
            "Each size's own rate follows from the launched one by the rule of the study. Where the rule is right, the "
            "best multiple is the same at all widths. Bars: one standard deviation between seeds."
            f"{'' if all(row['at_edge'] for row in found.sweeps) else DIAMOND}{assumed}"
        ),
    ]
    return Section("Learning rates", blocks)


def _said(found: RateStudy, rate: float) -> str:
    if found.best_rate is None or found.best_rate_low is None or found.best_rate_high is None or found.regret is None:
        return (
            "The best rate is not known, nor what the launched one loses: every sweep has its lowest loss at an edge "
            "of the rates that were tried, or is flat. Add a rate beyond the edge."
        )
    inside = found.best_rate_low <= rate <= found.best_rate_high
    widths = ", ".join(map(str, found.at_edge))
    edge = (
        f" The sweep of width {widths} has its lowest loss at an edge or is flat, and was not used; widen it."
        if widths
        else ""
    )
    return (
        f"The launched rate is {rate:.2g}. By the sweeps, the best one is {found.best_rate:.2g} (90%: "
        f"{found.best_rate_low:.2g} to {found.best_rate_high:.2g}), and the launched one is expected to lose "
        f"{percent(found.regret)} of the loss against it. "
        + ("It lies within the interval: keep it." if inside else f"It lies outside: launch at {found.best_rate:.2g}.")
        + edge
    )


def _lowest_at_an_end(row: dict[str, Any]) -> bool:
    """Whether the lowest loss of the sweep is that of its lowest or its highest multiple."""
    found = [(loss, multiple) for multiple, loss in row["points"] if loss is not None]
    multiples = [multiple for _, multiple in found]
    return min(found)[1] in (min(multiples), max(multiples))


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    tried = ", ".join(f"{multiple:g}" + ("" if loss else " (diverged)") for multiple, loss in row["points"])
    best = row["multiple"]
    if row["at_edge"]:
        where = "yes: add a rate beyond it" if _lowest_at_an_end(row) else "no, but flat: add rates further away"
        return str(row["width"]), tried, f"{best:.2f}", NONE, UNKNOWN, where
    reach = exp(1.645 * row["log_sd"])
    interval = f"{best / reach:.2f} to {best * reach:.2f}"
    return str(row["width"]), tried, f"{best:.2f}", interval, percent(row["regret"]), "no"
