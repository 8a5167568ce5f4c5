"""The plots of a study. Each fits half a desktop page, and the width of a phone."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_core.report.bars import name_rows
from llm_core.report.formatting import short, signed_percent, tick
from llm_core.report.style import AMBER, BLUE, INK, MUTED, PALE, ROSE, RULE, TEAL, Picture, draw, label_ticks
from llm_core.study.results import BatchLaw, Forecast, MixtureStudy, ScalingLaw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

WIDTH = 4.0
"""Inches. Letters are about 10 pixels high on a phone and 14 on a desktop."""
LOSS = "bits per byte"
OUTLIER = 6
"""Times the median difference of the ideas beyond which a plot gives a number in place of a point."""
Runs = Sequence[Mapping[str, Any]]
VERDICTS = {
    "better": ("<", TEAL, TEAL),
    "worse": (">", ROSE, ROSE),
    "equivalent": ("s", MUTED, MUTED),
    "undecided": ("o", MUTED, "none"),
    "diverged": ("x", MUTED, MUTED),
}
"""Verdict → marker, colour, and colour inside. Only what is decided has a colour."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def law_loss(law: ScalingLaw, parameters: Any, tokens: Any) -> Any:
    """The loss that the law expects."""
    a, b = law.coefficients
    return law.floor + a * np.power(parameters, -law.alpha) + b * np.power(tokens, -law.beta)


def scaling(
    law: ScalingLaw, runs: Runs, launched: Mapping[str, Any] | None, told: Forecast | None, result: float | None
) -> Picture:
    """Loss over compute on logarithmic axes: runs, a line of the law for each size, and the launched run."""

    def paint(axes: "Axes") -> None:
        heights = [run["loss"] for run in runs]
        for parameters, of_size in _sizes(runs):
            flops = np.geomspace(float(of_size[0]["flops"]), float(of_size[-1]["flops"]), 40)
            per_token = of_size[-1]["flops"] / of_size[-1]["tokens"]
            axes.plot(flops, law_loss(law, parameters, flops / per_token), color=PALE)
            _runs(axes, of_size, [run["loss"] for run in of_size])
            top = max(run["loss"] for run in of_size if run["flops"] == of_size[0]["flops"])
            _label(axes, short(parameters), (of_size[0]["flops"], top), (4, 7), MUTED, "left")
        if told is not None and launched is not None:
            end = float(launched["flops"])  # numpy has no integers as large as the FLOPs of a large run
            flops = np.geomspace(end / 40, end, 40)
            per_token = launched["flops"] / launched["tokens"]
            axes.plot(
                flops, law_loss(law, launched["parameters"], flops / per_token), color=BLUE, linestyle="--", linewidth=1
            )
            _interval(axes, end, told.loss, told.low, told.high)
            _label(axes, f"{short(launched['parameters'])}, forecast", (end, told.low), (0, -14), BLUE)
            heights += [told.low, told.high]
            if result is not None:
                axes.plot([end], [result], "D", color=AMBER, markersize=6, zorder=4)
                _label(axes, "result", (end, result), (-8, 0), AMBER, "right")
                heights.append(result)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(x=0.13)
        low, high = min(heights), max(heights)
        axes.set_ylim(low * (low / high) ** 0.18, high * (high / low) ** 0.12)
        _ticks(axes.yaxis, *axes.get_ylim())
        _powers(axes.xaxis)
        axes.set_xlabel("FLOPs of training")
        axes.set_ylabel(LOSS)

    return draw("scaling_law", "Loss over compute, one line per size (parameters)", (WIDTH, 3.4), paint)


def misses(law: ScalingLaw, runs: Runs) -> Picture:
    """Each run's loss less the law's, in percent, with the band of a run's noise."""

    def paint(axes: "Axes") -> None:
        reach = 100 * 1.645 * float(np.hypot(law.noise, law.trunk_noise))
        axes.axhspan(-reach, reach, color=RULE, alpha=0.6, linewidth=0)
        axes.axhline(0, color=MUTED, linewidth=0.9)
        for _, of_size in _sizes(runs):
            _runs(axes, of_size, [100 * (run["loss"] / run["expected"] - 1) for run in of_size])
        axes.set_xscale("log")
        _powers(axes.xaxis)
        label_ticks(axes.yaxis, lambda value: f"{tick(value)}%", most=5)
        axes.set_xlabel("FLOPs of training")
        axes.set_ylabel("loss less the law's")

    return draw("scaling_misses", "How far the runs are from the law", (WIDTH, 3.4), paint)


def way(told: Forecast, tokens: float, result: float | None) -> Picture:
    """The bands of the curve on the way, and the interval at the end."""

    def paint(axes: "Axes") -> None:
        bands = [*told.curve, {"share": 1.0, "loss": told.loss, "low": told.low, "high": told.high}]
        axes.plot([band["share"] for band in bands], [band["loss"] for band in bands], color=PALE, linewidth=1)
        for band in bands:
            _interval(axes, band["share"], band["loss"], band["low"], band["high"])
        if result is not None:
            axes.plot([1.0], [result], "D", color=AMBER, markersize=6, zorder=4)
            _label(axes, "result", (1.0, result), (-8, 0), AMBER, "right")
        shares = [band["share"] for band in bands]
        axes.set_xticks(shares, [short(share * tokens) for share in shares])
        axes.margins(x=0.12, y=0.15)
        label_ticks(axes.yaxis, most=6)
        axes.set_xlabel("training tokens")
        axes.set_ylabel(LOSS)

    return draw("forecast", "Forecast of the curve, with 90% intervals", (WIDTH, 2.8), paint)


def sweep(row: Mapping[str, Any], noise: float | None) -> Picture:
    """Loss over the multiple of the rate: the runs, the parabola through them, and its lowest point.

    ``noise``: of a run, as a share of its loss; None if unknown.
    """

    def paint(axes: "Axes") -> None:
        found = [(multiple, loss) for multiple, loss in row["points"] if loss is not None]
        multiples, losses = (np.array(column) for column in zip(*found, strict=True))
        axes.axvline(1, color=MUTED, linewidth=1, linestyle="--")
        low, high = losses.min(), losses.max()
        if not row["at_edge"]:
            rates = np.geomspace(multiples.min() / 1.1, multiples.max() * 1.1, 60)
            parabola = row["loss"] * np.exp(row["curvature"] / 2 * np.log(rates / row["multiple"]) ** 2)
            axes.plot(rates, parabola, color=PALE)
            reach = np.exp(1.645 * row["log_sd"])
            ends = np.clip([row["multiple"] / reach, row["multiple"] * reach], rates[0], rates[-1])
            axes.plot(ends, [row["loss"]] * 2, color=AMBER, linewidth=2.4)
            axes.plot([row["multiple"]], [row["loss"]], "D", color=AMBER, markersize=6)
            low, high = min(low, row["loss"]), max(high, parabola.max())
        bars = None if noise is None else noise * losses
        axes.errorbar(multiples, losses, yerr=bars, color=BLUE, fmt="o", markersize=5, capsize=3, linewidth=1)
        axes.set_xscale("log")
        axes.set_xlim(multiples.min() / 1.3, multiples.max() * 1.3)
        axes.set_xticks(multiples, [f"{multiple:g}" for multiple in multiples])
        axes.set_xticks([], minor=True)
        room = max(high - low, 4 * (noise or 0) * high, 1e-6 * high)
        axes.set_ylim(low - 0.35 * room, high + 0.3 * room)
        _label(axes, "own rate", (1, high + 0.3 * room), (4, -9), MUTED, "left")
        label_ticks(axes.yaxis, most=5)
        axes.set_xlabel("multiple of the size's own rate")
        axes.set_ylabel(LOSS)

    return draw(f"rates_{row['width']}", f"Width {row['width']}", (WIDTH, 2.7), paint)


def noise_scales(law: BatchLaw, scales: Runs, tokens: float) -> Picture:
    """The noise scale of each trunk over its tokens, the law's at the launched ``tokens``, and the launched batch."""
    from matplotlib.ticker import LogLocator, NullLocator

    def paint(axes: "Axes") -> None:
        axes.axhline(law.launched, color=MUTED, linewidth=1, linestyle="--")
        for row in scales:
            axes.plot([row["tokens"]] * 2, [row["low"], row["high"]], color=PALE)
            axes.plot([row["tokens"]], [row["batch"]], "o", color=BLUE, markersize=4)
        if law.critical is not None and law.critical_low is not None and law.critical_high is not None:
            axes.plot([tokens] * 2, [law.critical_low, law.critical_high], color=AMBER, linewidth=2.4)
            axes.plot([tokens], [law.critical], "D", color=AMBER, markersize=6)
            _label(axes, "full run", (tokens, law.critical), (-8, 0), AMBER, "right")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(x=0.1, y=0.15)
        _powers(axes.xaxis)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        label_ticks(axes.yaxis)
        _label(axes, "launched batch", (axes.get_xlim()[0], law.launched), (4, 7), MUTED, "left")
        axes.set_xlabel("training tokens")
        axes.set_ylabel("tokens per batch")

    return draw("batch", "Noise scale of the gradients, with 90% intervals", (WIDTH, 3.0), paint)


def forest(rows: Sequence[Mapping[str, Any]], width: int, margin: float) -> Picture:
    """Difference of each idea from the launched recipe with its 95% interval, in percent of the loss."""

    def paint(axes: "Axes") -> None:
        reach = _reach(rows, margin)
        axes.axvspan(*(_percent(bound) for bound in (-margin, margin)), color=RULE, alpha=0.6, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=0.9)
        for place, row in enumerate(rows):
            marker, colour, inside = VERDICTS[row["verdict"]]
            if row["low"] is not None:
                axes.plot([_percent(row["low"]), _percent(row["high"])], [place] * 2, color=colour, linewidth=1.6)
            at = _percent(min(max(row["difference"], -0.96 * reach), 0.96 * reach))
            (point,) = axes.plot([at], [place], marker, color=colour, markersize=7)
            point.set_markerfacecolor(inside)
            point.set_markeredgewidth(1.4)
            if abs(row["difference"]) > reach:
                shift, side = (10, "left") if at < 0 else (-10, "right")
                _label(axes, signed_percent(row["difference"]), (at, place), (shift, 0), colour, side)
        name_rows(axes, [row["idea"] for row in rows])
        axes.grid(visible=True, axis="y", color=RULE)
        axes.set_xlim(-_percent(reach), _percent(reach))
        label_ticks(axes.xaxis, lambda value: f"{tick(round(value, 6))}%", most=5)
        axes.set_xlabel("better  ←  difference of the loss  →  worse")

    return draw(f"ideas_{width}", f"Width {width}", (WIDTH, 0.8 + 0.36 * len(rows)), paint)


def _reach(rows: Sequence[Mapping[str, Any]], margin: float) -> float:
    """The largest difference that the plot shows: one outlier, or one very wide interval, would hide all others."""
    differences = [abs(row["difference"]) for row in rows]
    bounds = [abs(row[end]) for row in rows for end in ("low", "high") if row[end] is not None]
    usual = max(OUTLIER * statistics.median(differences), 2 * margin)
    return 1.12 * min(max(*differences, *bounds, margin), usual)


def predicted(found: MixtureStudy) -> Picture:
    """The loss of each run over the law's, for mixtures that the law was fitted to and those that test it."""

    def paint(axes: "Axes") -> None:
        every = [row[name] for row in found.rows for name in ("loss", "expected")]
        axes.axline((min(every), min(every)), slope=1, color=MUTED, linewidth=0.9)
        bars = None if found.noise is None else found.noise * float(np.mean(every))
        for out, colour, label in ((False, PALE, "fitted"), (True, AMBER, "held out")):
            points = [(row["expected"], row["loss"]) for row in found.rows if row["held_out"] == out]
            x, y = zip(*points, strict=True)
            axes.errorbar(
                x, y, yerr=bars if out else None, fmt="D" if out else "o", color=colour, markersize=5, capsize=3,
                linewidth=1, label=label,
            )  # fmt: skip
        axes.legend(frameon=False, loc="upper left", fontsize=8.5)
        axes.margins(0.08)
        label_ticks(axes.xaxis, most=4)
        label_ticks(axes.yaxis, most=5)
        axes.set_xlabel("the law's bits per byte")
        axes.set_ylabel("the run's bits per byte")

    return draw("mixtures_predicted", "Runs and the law", (WIDTH, 3.0), paint)


def shares(found: MixtureStudy) -> Picture:
    """Share of each source: in the best mixture, in those within noise of it, and in the launched one."""

    def paint(axes: "Axes") -> None:
        for place, source in enumerate(found.sources):
            low, best, high = (100 * found.best[name][source] for name in ("low", "weights", "high"))
            axes.plot([low, high], [place] * 2, color=BLUE, linewidth=2.4)
            axes.plot([best], [place], "D", color=BLUE, markersize=6, label=None if place else "best")
            if found.launched is not None:
                axes.plot(
                    [100 * found.launched["weights"][source]], [place], "o", color=MUTED, markersize=7,
                    markerfacecolor="none", label=None if place else "launched",
                )  # fmt: skip
        name_rows(axes, found.sources)
        axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8.5)
        axes.grid(visible=True, axis="y", color=RULE)
        axes.margins(x=0.06)
        label_ticks(axes.xaxis, lambda value: f"{tick(value)}%", most=5)
        axes.set_xlabel("share of the text")

    return draw("mixtures_shares", "Shares within noise of the best", (WIDTH, 1.4 + 0.36 * len(found.sources)), paint)


def _percent(log: float) -> float:
    return 100 * float(np.expm1(log))


def _sizes(runs: Runs) -> list[tuple[int, list[Mapping[str, Any]]]]:
    """Parameters → the runs in rising order of compute."""
    ordered = sorted(runs, key=lambda run: (run["parameters"], run["flops"]))
    return [(parameters, list(found)) for parameters, found in groupby(ordered, lambda run: run["parameters"])]


def _runs(axes: "Axes", runs: Runs, heights: Sequence[float]) -> None:
    """Runs as points; those that were left out of the fit as crosses."""
    for out, marker, colour in ((False, "o", BLUE), (True, "x", INK)):
        chosen = [(run["flops"], y) for run, y in zip(runs, heights, strict=True) if run["excluded"] == out]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), marker, color=colour, markersize=6 if out else 3.5, zorder=3)


def _interval(axes: "Axes", place: float, loss: float, low: float, high: float) -> None:
    axes.errorbar(
        [place], [loss], yerr=[[loss - low], [high - loss]], fmt="o", color=BLUE, markersize=5, capsize=4, linewidth=1.6
    )


def _label(
    axes: "Axes", label: str, place: tuple[float, float], shift: tuple[int, int], colour: str, side: str = "center"
) -> None:
    axes.annotate(label, place, shift, textcoords="offset points", color=colour, ha=side, fontsize=8.5, va="center")


def _powers(axis: "Axis") -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_minor_locator(NullLocator())
    label_ticks(axis, lambda value: "10" + f"{round(float(np.log10(value)))}".translate(_SUPERSCRIPT))


def _ticks(axis: "Axis", low: float, high: float) -> None:
    """Round numbers on a logarithmic axis that spans less than a power of ten."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    axis.set_major_locator(FixedLocator([value for value in MaxNLocator(6).tick_values(low, high) if value > 0]))
    axis.set_minor_locator(NullLocator())
    label_ticks(axis)
