"""The plots of a training run and of its scores."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llm_core.report.bars import FULL, HALF, Bar, bars
from llm_core.report.curves import Steps, column, smooth, thin, validation
from llm_core.report.facts import Level
from llm_core.report.formatting import in_bytes, percent, share, short
from llm_core.report.style import AMBER, BLUE, PALE, ROSE, TEAL, Picture, draw, label_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def bits_per_byte(headline: Mapping[str, Any]) -> Picture:
    """Bits per byte of this model and of both baselines."""
    ours = headline["bits_per_byte"]
    rows = [
        Bar("this model", ours, f"{ours:.3f}", interval=headline["bits_per_byte_interval"], bold=True),
        *(
            Bar(name, headline[field], f"{headline[field]:.3f}", PALE)
            for name, field in (("unigram tokens", "unigram_bits_per_byte"), ("xz", "xz_bits_per_byte"))
        ),
    ]
    unit = "bits per byte of held-out text (lower is better)"
    return bars("bits_per_byte", "Bits per byte of the held-out text", rows, unit, room=1.15)


def accuracy(headline: Mapping[str, Any]) -> Picture:
    """Share of right answers, beside chance."""
    chance = headline["chance"]

    def more(axes: "Axes") -> None:
        axes.axvline(chance, color=ROSE, linewidth=1.4)
        axes.set_ylim(len(rows) - 0.45, -0.9)
        axes.annotate(f"chance {percent(chance)}", (chance, -0.6), (5, 0), textcoords="offset points", color=ROSE)
        axes.set_xlim(0, 1.08)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"])

    rows = [
        Bar(name, headline[field], percent(headline[field]), colour, headline[f"{field}_interval"], colour == BLUE)
        for name, field, colour in (("this model", "accuracy", BLUE), ("shared letters", "overlap_accuracy", PALE))
    ]
    return bars(
        "accuracy", "Which continuation is the real one", rows, "questions answered correctly", height=0.5, more=more
    )


def funnel(levels: Sequence[Level]) -> Picture:
    """The documents that are left after each stage. The last level is the training split."""
    rows = []
    for place, level in enumerate(levels):
        last = place == len(levels) - 1
        lost = levels[place - 1].documents - level.documents if place else 0
        why = f" ({share(lost, levels[place - 1].documents)} {'held out' if last else 'dropped'})" if lost else ""
        label = f"{short(level.documents)} documents, {in_bytes(level.bytes)}{why}"
        rows.append(Bar(level.name, level.documents, label, TEAL if last else BLUE))
    return bars("data_funnel", "Documents that remain after every stage", rows, room=1.62)


def times(stages: Sequence[tuple[str, float]]) -> Picture:
    """Seconds per stage, longest first."""
    total = sum(seconds for _, seconds in stages)
    rows = [Bar(name, value, share(value, total)) for name, value in sorted(stages, key=lambda row: -row[1])]
    return bars("time_by_stage", "Where the time went", rows, "seconds", room=1.15, height=0.3, clock=True)


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

    return draw("tokens_per_second", "Training speed", (FULL, 2.6), paint, clock=True)


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
