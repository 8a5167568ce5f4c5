"""The comparison as a table and a figure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.quality.runs import BASELINE, Outcome
from benchmarks.quality.speed import Speed
from llm_core.report.style import BLUE, ROSE


def bits(outcome: Outcome, bytes_per_token: float) -> float:
    """Bits per byte of held-out text at the end of a run."""
    return outcome.loss / math.log(2) / bytes_per_token


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    if len(values) < 2:
        return f"{values[0]:.4f}"
    return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"


def paired(name: str, outcomes: Sequence[Outcome], bytes_per_token: float) -> tuple[float, float]:
    """Difference from the baseline over the same seeds: mean, and its standard error (0 for one seed)."""
    found = {
        which: {outcome.run.seed: bits(outcome, bytes_per_token) for outcome in outcomes if outcome.run.name == which}
        for which in (name, BASELINE)
    }
    apart = [found[name][seed] - found[BASELINE][seed] for seed in found[name]]
    error = statistics.stdev(apart) / math.sqrt(len(apart)) if len(apart) > 1 else 0.0
    return statistics.fmean(apart), error


def table(
    names: Sequence[str],
    tokens: Sequence[Outcome],
    time: Sequence[Outcome],
    speeds: Mapping[str, Speed],
    parameters: Mapping[str, int],
    bytes_per_token: float,
) -> list[str]:
    """Markdown lines, one for each idea, in the order of what it does in equal time."""
    order = sorted(names, key=lambda name: paired(name, time, bytes_per_token)[0])
    lines = [
        "| idea | parameters | tokens/s | memory | equal tokens: bits/byte | − baseline "
        "| equal time: bits/byte | − baseline |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in order:
        cells = [
            name,
            f"{parameters[name] / 1e6:.2f}M",
            f"{speeds[name].tokens:,.0f} ({speeds[name].share:.2f}×)",
        ]
        memory = max(outcome.memory for outcome in tokens if outcome.run.name == name)
        cells.append(f"{memory / 1e6:,.0f} MB")
        for outcomes in (tokens, time):
            cells.append(spread([bits(outcome, bytes_per_token) for outcome in outcomes if outcome.run.name == name]))
            mean, error = paired(name, outcomes, bytes_per_token)
            cells.append("" if name == BASELINE else f"{mean:+.4f} ± {error:.4f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def fraction_table(
    best: Mapping[float, Sequence[Outcome]], baseline: Sequence[Outcome], bytes_per_token: float
) -> list[str]:
    """What the combination reaches in fractions of the baseline's time, each with a schedule of its own."""
    there = statistics.fmean(bits(outcome, bytes_per_token) for outcome in baseline)
    lines = ["| share of the baseline's time | tokens | bits/byte | − baseline |", "|---|---|---|---|"]
    for fraction, outcomes in sorted(best.items()):
        values = [bits(outcome, bytes_per_token) for outcome in outcomes]
        read = outcomes[0].run.training.tokens
        lines.append(f"| {fraction:.0%} | {read:,} | {spread(values)} | {statistics.fmean(values) - there:+.4f} |")
    return [*lines, f"| baseline, 100% | {baseline[0].run.training.tokens:,} | {there:.4f} | |"]


def rate_table(tried: Mapping[float, Outcome], bytes_per_token: float) -> list[str]:
    """Bits per byte at every learning rate."""
    losses = (f"{bits(outcome, bytes_per_token):.4f}" for outcome in tried.values())
    return [
        f"| learning rate | {' | '.join(f'{rate:g}' for rate in tried)} |",
        f"|---{'|---' * len(tried)}|",
        f"| bits/byte | {' | '.join(losses)} |",
    ]


def paint(axes: Any, names: Sequence[str], time: Sequence[Outcome], bytes_per_token: float) -> None:
    """Differences from the baseline in equal time, with their errors."""
    ideas = [name for name in names if name != BASELINE]
    found = sorted(((*paired(name, time, bytes_per_token), name) for name in ideas), reverse=True)
    for place, (mean, error, name) in enumerate(found):
        colour = BLUE if mean < 0 else ROSE
        axes.barh(place, mean, xerr=error, color=colour, height=0.6, error_kw={"linewidth": 1})
        axes.annotate(name, (0, place), (-6 if mean > 0 else 6, 0), textcoords="offset points", va="center",
                      ha="right" if mean > 0 else "left")  # fmt: skip
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks([])
    axes.margins(x=0.25)
    axes.set_xlabel("bits per byte − baseline, in equal time (left is better)")
