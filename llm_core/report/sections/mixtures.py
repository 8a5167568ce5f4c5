"""The section about the weights of the sources."""

from typing import Any

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Pair, Section, Table, note, text
from llm_core.report.formatting import NONE, count, percent, short, signed_percent
from llm_core.report.study_plots import predicted, shares
from llm_core.study.results import MixtureStudy

MISSED = 2.0
"""Times the noise between seeds from which the law's error on the held-out mixtures is told."""


def mixtures(job: Job) -> Section | None:
    """The best weights of the sources, or why the runs recommend none, and the test on held-out mixtures."""
    found = read.mixtures(job.inputs)
    if found is None:
        return None
    pictures = [predicted(found), *([] if found.refusal else [shares(found)])]
    blocks: list[Block] = [text(_said(found)), Pair(pictures)]
    if not found.refusal:
        blocks.append(
            Table(
                ("Source", "Launched", "Best", "Within noise of the best", "Counts in the loss"),
                [_cells(found, source) for source in found.sources],
            )
        )
    blocks.append(note(_how(found)))
    return Section("Mixtures", blocks)


def _said(found: MixtureStudy) -> str:
    tried = count(len({row["mixture"] for row in found.rows}), "mixture")
    if found.refusal:
        return f"{tried} of the sources were tried, but no mixture is recommended: {found.refusal}."
    best = ", ".join(f"{source} {percent(share)}" for source, share in found.best["weights"].items())
    edge = (
        f" For {', '.join(found.at_edge)}, the best share may lie beyond those that were tried: see "
        "study.mixtures.least and most."
        if found.at_edge
        else ""
    )
    return (
        f"{tried} of the sources were tried. The best weights by the law: {best}. "
        f"{_against(found.launched)}{edge}{_missed(found)}"
    )


def _missed(found: MixtureStudy) -> str:
    if found.noise is None or found.error < MISSED * found.noise:
        return ""
    return (
        f" The law misses the held-out mixtures by {percent(found.error)}, {found.error / found.noise:.1f} times the "
        "noise between seeds. So the weights are less certain than their intervals: train these and the launched ones "
        "once more, with several seeds, before you change them."
    )


def _against(launched: dict[str, Any] | None) -> str:
    if launched is None:
        return "The full run reads other sources, so its weights can't be compared with them."
    interval = f"{signed_percent(launched['low'])} to {signed_percent(launched['high'])}"
    if launched["low"] <= 0:
        return f"The launched weights are within noise of them (difference of the loss: {interval}): keep them."
    return (
        f"The launched weights have a loss that is higher by {percent(launched['behind'])} (95%: {interval}): launch "
        "with the best ones."
    )


def _cells(found: MixtureStudy, source: str) -> tuple[str, ...]:
    low, high = found.best["low"][source], found.best["high"][source]
    launched = NONE if found.launched is None else percent(found.launched["weights"][source])
    best = percent(found.best["weights"][source])
    return source, launched, best, f"{percent(low)} to {percent(high)}", percent(found.target[source])


def _how(found: MixtureStudy) -> str:
    noise = "unknown" if found.noise is None else percent(found.noise)
    lost = f" {count(len(found.diverged), 'run')} diverged and counted for nothing." if found.diverged else ""
    return (
        f"Runs of {short(found.parameters)} parameters. The law was not fitted to the held-out mixtures. It predicts "
        f"their loss with an error of {percent(found.error)} and a rank correlation of {found.rank_correlation:.2f}. "
        f"The noise between seeds is {noise} (bars: one standard deviation), and the mixtures differ by "
        f"{percent(found.spread)}. The loss is that of each source's held-out text, "
        f"weighted by its bytes or by study.mixtures.target.{lost}"
    )
