"""The figures of a training report, drawn from plain numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llm_core.report.curves import Steps, column, smooth, thin, validation
from llm_core.report.formatting import in_bytes, percent, short, signed
from llm_core.report.style import AMBER, BLUE, INK, MUTED, PALE, ROSE, RULE, TEAL, Picture, draw, label_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FULL = 9.4
HALF = 4.6
LONGEST_NAME = 22
"""Maximum characters of a name beside or below a figure."""


def bits_per_byte(rows: Sequence[tuple[str, float, float | None]]) -> Picture:
    """Horizontal bars (name, bits per byte, standard error); the first one is ours."""

    def paint(axes: "Axes") -> None:
        values = [value for _, value, _ in rows]
        places = np.arange(len(rows))
        axes.barh(places, values, height=0.6, color=[BLUE] + [PALE] * (len(rows) - 1))
        for place, (_, value, error) in zip(places, rows, strict=True):
            if error:
                axes.errorbar(value, place, xerr=error, color=INK, capsize=3, linewidth=1)
            weight = "bold" if place == 0 else "normal"
            axes.annotate(
                f"{value:.3f}", (value + (error or 0), place), (6, 0), textcoords="offset points", va="center",
                weight=weight,
            )  # fmt: skip
        name_rows(axes, [name for name, _, _ in rows])
        axes.set_xlim(0, max(values) * 1.15)
        axes.set_xlabel("bits per byte of held-out text (lower is better)")

    return draw("bits_per_byte", "Bits per byte of the held-out text", (FULL, 0.75 + 0.42 * len(rows)), paint)


def funnel(rows: Sequence[tuple[str, int, int]]) -> Picture:
    """One bar per stage: (name, documents, bytes). The last one is the training split."""

    def paint(axes: "Axes") -> None:
        documents = [count for _, count, _ in rows]
        axes.barh(np.arange(len(rows)), documents, height=0.62, color=[BLUE] * (len(rows) - 1) + [TEAL])
        for place, (_, count, size) in enumerate(rows):
            before = documents[place - 1] if place else count
            share = 1 - count / before if before else 0.0
            what = "held out" if place == len(rows) - 1 else "dropped"
            lost = f" ({percent(share)} {what})" if share else ""
            axes.annotate(
                f"{short(count)} documents, {in_bytes(size)}{lost}", (count, place), (6, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
        name_rows(axes, [name for name, _, _ in rows])
        axes.set_xlim(0, max(*documents, 1) * 1.62)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)

    return draw("data_funnel", "Documents that remain after every stage", (FULL, 0.3 + 0.42 * len(rows)), paint)


def drops(rows: Sequence[tuple[str, int]], total: int) -> Picture:
    """Documents dropped by each rule, out of ``total``."""

    def paint(axes: "Axes") -> None:
        counts = [count for _, count in rows]
        axes.barh(np.arange(len(rows)), counts, height=0.6, color=AMBER)
        for place, count in enumerate(counts):
            axes.annotate(
                f"{short(count)}  ({percent(count / total) if total else '–'})", (count, place), (6, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
        name_rows(axes, [name for name, _ in rows])
        axes.set_xlim(0, max(*counts, 1) * 1.3)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)

    return draw("drops", "Documents dropped, by rule", (FULL, 0.3 + 0.34 * len(rows)), paint)


def loss(steps: Steps) -> Picture:
    """Training loss (every step and smoothed) and validation loss over the tokens seen."""

    def paint(axes: "Axes") -> None:
        tokens, values = column(steps, "tokens"), column(steps, "loss")
        smoothed = smooth(values, len(steps) // 40)
        shown = thin(len(steps))
        axes.plot(tokens[shown], values[shown], color=PALE, linewidth=0.8)
        axes.plot(tokens[shown], smoothed[shown], color=BLUE)
        at, measured = validation(steps)
        if at.size:
            seen = np.interp(at, column(steps, "step"), tokens)
            axes.plot(seen, measured, color=AMBER, marker="o", markersize=3.2, linewidth=1.2)
        # The first steps fall from ln(vocabulary). The scale fits the later ones.
        finite = values[np.isfinite(values)]
        if finite.size > 20:
            low = min(float(finite.min()), float(measured.min()) if measured.size else np.inf)
            high = float(np.quantile(finite, 0.985))
            axes.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
        _end_labels(
            axes,
            [("training", smoothed, BLUE), ("validation", measured, AMBER)],
            float(tokens[-1]),
        )
        axes.set_ylabel("loss (nats per token)")
        _over_tokens(axes, tokens)

    return draw("loss", "Training and validation loss", (FULL, 3.5), paint)


def learning_rate(steps: Steps) -> Picture:
    """The learning rate of every step."""

    def paint(axes: "Axes") -> None:
        shown = thin(len(steps))
        axes.plot(column(steps, "step")[shown], column(steps, "lr")[shown], color=TEAL)
        axes.set_ylim(bottom=0)
        label_ticks(axes.yaxis)
        axes.set_ylabel("learning rate")
        axes.set_xlabel("step")

    return draw("learning_rate", "Learning rate", (HALF, 2.6), paint)


def gradient_norm(steps: Steps) -> Picture:
    """The gradient norm before clipping; skipped steps are marked at the top."""

    def paint(axes: "Axes") -> None:
        at, norms = column(steps, "step"), column(steps, "grad_norm")
        skipped = np.array([bool(step.get("skipped")) for step in steps])
        finite = np.where(np.isfinite(norms) & ~skipped, norms, np.nan)
        shown = thin(len(steps))
        axes.plot(at[shown], finite[shown], color=PALE, linewidth=0.8)
        axes.plot(at[shown], smooth(finite, len(steps) // 40)[shown], color=BLUE)
        top = float(np.nanquantile(finite, 0.99)) * 1.4 if np.isfinite(finite).any() else 1.0
        axes.set_ylim(0, top)
        if skipped.any():
            axes.plot(at[skipped], np.full(int(skipped.sum()), 0.96 * top), "v", color=ROSE, markersize=5)
            axes.annotate(
                f"{int(skipped.sum())} skipped", (float(at[skipped][-1]), 0.96 * top), (6, 0),
                textcoords="offset points", va="center", color=ROSE,
            )  # fmt: skip
        axes.set_ylabel("gradient norm")
        axes.set_xlabel("step")

    return draw("gradient_norm", "Gradient norm before clipping", (HALF, 2.6), paint)


def throughput(steps: Steps) -> Picture:
    """Tokens per second of every step, and their median."""

    def paint(axes: "Axes") -> None:
        at, speed = column(steps, "step"), column(steps, "tokens_per_second")
        shown = thin(len(steps))
        middle = float(np.nanmedian(speed))
        axes.plot(at[shown], speed[shown], color=PALE, linewidth=0.8)
        axes.axhline(middle, color=BLUE, linewidth=1.4)
        # A single very fast step would flatten all others.
        axes.set_ylim(0, max(1.6 * middle, 1.08 * min(float(np.nanmax(speed)), 4 * middle)))
        axes.annotate(
            f"median {short(middle)}", (float(at[-1]), middle), (0, 5), textcoords="offset points", ha="right",
            color=BLUE,
        )  # fmt: skip
        label_ticks(axes.yaxis)
        axes.set_ylabel("tokens per second")
        axes.set_xlabel("step")

    return draw("tokens_per_second", "Training speed", (HALF, 2.6), paint, clock=True)


def dots(name: str, caption: str, rows: Sequence[tuple[str, float]], unit: str, ours: str | None) -> Picture:
    """Like ``bars``, for values that differ little: points on an axis that does not start at zero."""

    def paint(axes: "Axes") -> None:
        values = [value for _, value in rows]
        for place, (label, value) in enumerate(rows):
            axes.plot([value], [place], "o", color=BLUE, markersize=8, markerfacecolor=BLUE if label == ours else PALE)
            axes.annotate(f"{value:.4f}", (value, place), (9, 0), textcoords="offset points", va="center")
        name_rows(axes, [label for label, _ in rows])
        axes.grid(visible=True, axis="y", color=RULE)
        spread = max(max(values) - min(values), 1e-3)
        axes.set_xlim(min(values) - 0.25 * spread, max(values) + 0.6 * spread)
        label_ticks(axes.xaxis, most=4)
        axes.set_xlabel(unit)

    return draw(name, caption, (HALF, 0.8 + 0.36 * len(rows)), paint)


def bars(
    name: str, caption: str, rows: Sequence[tuple[str, float]], unit: str, ours: str | None, clock: bool = False
) -> Picture:
    """One value per run as horizontal bars. ``ours`` (the baseline) is highlighted."""

    def paint(axes: "Axes") -> None:
        values = [value for _, value in rows]
        axes.barh(
            np.arange(len(rows)), values, height=0.58, color=[BLUE if label == ours else PALE for label, _ in rows]
        )
        for place, value in enumerate(values):
            axes.annotate(
                short(value) if abs(value) >= 100 else f"{value:.4g}", (value, place), (6, 0),
                textcoords="offset points", va="center",
            )  # fmt: skip
        name_rows(axes, [label for label, _ in rows])
        axes.set_xlim(0, max(*values, 1e-9) * 1.22)
        label_ticks(axes.xaxis, most=4)
        axes.set_xlabel(unit)

    return draw(name, caption, (HALF, 0.8 + 0.36 * len(rows)), paint, clock)


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


def accuracy(rows: Sequence[tuple[str, float, float | None]], chance: float) -> Picture:
    """Share of right answers (name, share, standard error), beside chance; the first one is ours."""

    def paint(axes: "Axes") -> None:
        places = np.arange(len(rows))
        axes.barh(places, [value for _, value, _ in rows], height=0.6, color=[BLUE] + [PALE] * (len(rows) - 1))
        for place, (_, value, error) in zip(places, rows, strict=True):
            if error:
                axes.errorbar(value, place, xerr=error, color=INK, capsize=3, linewidth=1)
            axes.annotate(
                percent(value), (value + (error or 0), place), (6, 0), textcoords="offset points", va="center",
                weight="bold" if place == 0 else "normal",
            )  # fmt: skip
        axes.axvline(chance, color=ROSE, linewidth=1.4)
        name_rows(axes, [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.45, -0.9)
        axes.annotate(f"chance {percent(chance)}", (chance, -0.6), (5, 0), textcoords="offset points", color=ROSE)
        axes.set_xlim(0, 1.08)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])
        axes.set_xlabel("questions answered rightly")

    height = 0.95 + 0.42 * len(rows)
    return draw("accuracy", "Which continuation is the real one", (FULL, height), paint)


def times(rows: Sequence[tuple[str, float]]) -> Picture:
    """Seconds that each stage took, longest first."""
    bars_ = sorted(rows, key=lambda row: -row[1])

    def paint(axes: "Axes") -> None:
        seconds = [value for _, value in bars_]
        total = sum(seconds) or 1.0
        axes.barh(np.arange(len(bars_)), seconds, height=0.6, color=BLUE)
        for place, value in enumerate(seconds):
            axes.annotate(percent(value / total), (value, place), (6, 0), textcoords="offset points", va="center")
        name_rows(axes, [label for label, _ in bars_])
        axes.set_xlim(0, max(*seconds, 1e-9) * 1.15)
        axes.set_xlabel("seconds")

    return draw("time_by_stage", "Where the time went", (FULL, 0.75 + 0.3 * len(bars_)), paint, clock=True)


def fitted(name: str) -> str:
    """``name``, with its middle removed when it is too long for a figure."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2 - 1]}…{name[-LONGEST_NAME // 2 :]}"


def name_rows(axes: "Axes", names: Sequence[str]) -> None:
    """Label the rows: the first on top, in the text colour, without ticks."""
    axes.set_yticks(range(len(names)), [fitted(name) for name in names], color=INK)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color=RULE)
    if len(names) > 1:
        axes.set_ylim(len(names) - 0.45, -0.55)


def _over_tokens(axes: "Axes", tokens: np.ndarray) -> None:
    axes.set_xlim(0, float(tokens[-1]) * 1.13)
    label_ticks(axes.xaxis)
    axes.set_xlabel("training tokens")


def _end_labels(axes: "Axes", lines: Sequence[tuple[str, np.ndarray, str]], right: float) -> None:
    """Label each line at its end instead of in a legend, without overlaps."""
    known = ((values[np.isfinite(values)], name, colour) for name, values, colour in lines)
    ends = [(float(values[-1]), name, colour) for values, name, colour in known if values.size]
    low, high = axes.get_ylim()
    gap, place = 0.075 * (high - low), -np.inf
    for value, name, colour in sorted(ends):
        place = max(value, place + gap)
        axes.annotate(
            f"{name} {value:.2f}", (right, place), (7, 0), textcoords="offset points", va="center", color=colour,
            annotation_clip=False,
        )  # fmt: skip
