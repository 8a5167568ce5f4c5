"""The plots of the proxy runs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_core.report.bars import HALF, Bar, bars, name_rows
from llm_core.report.formatting import short, signed
from llm_core.report.style import BLUE, MUTED, PALE, ROSE, RULE, TEAL, Picture, draw, label_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ablation_pictures(results: Mapping[str, Any], timing: Mapping[str, Any]) -> list[Picture]:
    """Loss, difference, wall time, speed, memory and size of the variants, and the sweep, as far as there are data."""
    baseline, variants, clocks = results["baseline"], results["variants"], timing["variants"]
    pictures = []
    finished = [line for line in variants if line["validation_loss"] is not None]
    if finished:
        pictures.append(losses([(line["name"], line["validation_loss"]) for line in finished], baseline))
    compared = [(line["name"], line["difference"]) for line in finished if line["difference"] is not None]
    others = [(name, value) for name, value in compared if name != baseline]
    if others:
        pictures.append(differences(others, str(baseline)))

    def runs(name: str, caption: str, unit: str, values: Mapping[str, float], clock: bool = True) -> Picture:
        rows = [
            Bar(label, value, short(value) if value >= 100 else f"{value:.3g}", BLUE if label == baseline else PALE)
            for label, value in values.items()
        ]
        return bars(f"ablation_{name}", caption, rows, unit, 1.22, 0.36, HALF, clock)

    def measured(field: str, scale: float = 1.0) -> dict[str, float]:
        return {name: clock[field] / scale for name, clock in clocks.items()}

    if variants:
        sizes = {line["name"]: line["parameters"] for line in variants}
        pictures += [
            runs("wall_time", "Wall time", "seconds", measured("seconds")),
            runs("tokens_per_second", "Speed", "tokens per second", measured("tokens_per_second")),
            runs("memory", "Peak memory", "GB of a device, or of the process", measured("peak_memory_bytes", 1e9)),
            runs("parameters", "Size", "parameters", sizes, clock=False),
        ]
    sweep = [(line["learning_rate"], line["validation_loss"]) for line in results["learning_rates"]]
    sweep = [(rate, loss) for rate, loss in sweep if loss is not None]
    if sweep:
        pictures.append(rate_sweep(sweep))
    return pictures


def losses(rows: Sequence[tuple[str, float]], baseline: str | None) -> Picture:
    """Validation loss of every variant. They differ little: points on an axis that does not start at zero."""

    def paint(axes: "Axes") -> None:
        values = [value for _, value in rows]
        for place, (label, value) in enumerate(rows):
            axes.plot(
                [value], [place], "o", color=BLUE, markersize=8, markerfacecolor=BLUE if label == baseline else PALE
            )
            axes.annotate(f"{value:.4f}", (value, place), (9, 0), textcoords="offset points", va="center")
        name_rows(axes, [label for label, _ in rows])
        axes.grid(visible=True, axis="y", color=RULE)
        spread = max(max(values) - min(values), 1e-3)
        axes.set_xlim(min(values) - 0.25 * spread, max(values) + 0.6 * spread)
        label_ticks(axes.xaxis, most=4)
        axes.set_xlabel("nats per token")

    return draw("ablation_loss", "Validation loss of the variants", (HALF, 0.8 + 0.36 * len(rows)), paint)


def differences(rows: Sequence[tuple[str, float]], baseline: str) -> Picture:
    """Validation loss of every variant minus the baseline's: left of zero is better."""

    def paint(axes: "Axes") -> None:
        values = [value for _, value in rows]
        axes.barh(np.arange(len(rows)), values, height=0.58, color=[TEAL if value < 0 else ROSE for value in values])
        axes.axvline(0, color=MUTED, linewidth=0.9)
        for place, value in enumerate(values):
            side = -1 if value < 0 else 1
            axes.annotate(
                signed(value), (value, place), (6 * side, 0), textcoords="offset points", va="center",
                ha="right" if value < 0 else "left",
            )  # fmt: skip
        name_rows(axes, [label for label, _ in rows])
        reach = max(max((abs(value) for value in values), default=0.0), 1e-3) * 2.4
        axes.set_xlim(-reach, reach)
        label_ticks(axes.xaxis, most=4)
        axes.set_xlabel(f"validation loss less that of {baseline} (nats per token)")

    return draw("ablation_difference", "Difference from the baseline", (HALF, 0.8 + 0.36 * len(rows)), paint)


def rate_sweep(rows: Sequence[tuple[float, float]]) -> Picture:
    """Final validation loss over the peak learning rate, the best one marked."""

    def paint(axes: "Axes") -> None:
        rates, losses = [rate for rate, _ in rows], [value for _, value in rows]
        axes.plot(rates, losses, color=BLUE, marker="o", markersize=4)
        best = int(np.argmin(losses))
        axes.plot([rates[best]], [losses[best]], "o", color=TEAL, markersize=8)
        for index, (rate, value) in enumerate(rows):
            axes.annotate(
                f"{value:.3f}",
                (rate, value),
                (0, -17 if index == best else 9),
                textcoords="offset points",
                ha="center",
                weight="bold" if index == best else "normal",
            )
        spread = max(max(losses) - min(losses), 1e-3)
        axes.set_ylim(min(losses) - 0.4 * spread, max(losses) + 0.3 * spread)
        axes.set_xscale("log")
        axes.set_xlim(min(rates) / 1.6, max(rates) * 1.6)
        axes.set_xticks(rates, [f"{rate:g}" for rate in rates])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("peak learning rate")
        axes.set_ylabel("validation loss (nats)")

    return draw("learning_rates", "Learning-rate sweep", (HALF, 2.6), paint)
