"""The plots of documents and tokens."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from llm_core.report.bars import FULL, HALF, Bar, bars, fitted, name_rows
from llm_core.report.formatting import in_bytes, percent, share, short, words
from llm_core.report.style import AMBER, BLUE, INK, MUTED, PALE, ROSE, TEAL, Picture, draw, label_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES = (BLUE, TEAL, AMBER, PALE, ROSE)
"""Colours of sources, the largest first. Further sources share one muted colour."""

RULES_DRAWN = 14
"""Bars of rules."""

Histogram = Mapping[str, int]
"""Bin → count. Bin k contains the sizes from 2^k to 2^(k+1) - 1."""


def by_source(rows: Sequence[tuple[str, Mapping[str, int]]]) -> Picture:
    """The bytes of text that remain after each stage, by source."""
    totals: dict[str, int] = dict(rows[0][1])
    largest = sorted(totals, key=lambda name: (-totals[name], name))
    named = largest[: len(SERIES)]
    labels = [*named, *(["others"] if len(largest) > len(named) else [])]

    def paint(axes: "Axes") -> None:
        left = np.zeros(len(rows))
        for place, label in enumerate(labels):
            sizes = np.array(
                [
                    sum(size for name, size in row.items() if (name if name in named else "others") == label)
                    for _, row in rows
                ],
                dtype=float,
            )
            colour = SERIES[place] if place < len(named) else MUTED
            axes.barh(np.arange(len(rows)), sizes, left=left, height=0.62, color=colour, label=fitted(label))
            left += sizes
        first = left[0] or 1.0
        for place, size in enumerate(left):
            axes.annotate(
                f"{in_bytes(size)} ({percent(size / first)})", (size, place), (6, 0), textcoords="offset points",
                va="center",
            )  # fmt: skip
        name_rows(axes, [name for name, _ in rows])
        axes.set_xlim(0, max(float(left.max()), 1.0) * 1.22)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        if len(labels) > 1:
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=columns, frameon=False, fontsize=8.5,
                handlelength=1.0, labelcolor=INK,
            )  # fmt: skip

    # Six labels of 12 characters, or three of the longest, are as wide as the page.
    columns = min(len(labels), 6 if all(len(label) <= 12 for label in labels) else 3)
    height = 0.55 + 0.2 * math.ceil(len(labels) / columns) + 0.42 * len(rows)
    return draw("text_by_stage", "Text that remains after every stage, by source", (FULL, height), paint)


def counts(
    name: str, caption: str, rows: Sequence[tuple[str, int]], total: int, colour: str = TEAL, half: bool = False
) -> Picture:
    """The number of documents per name, out of ``total``."""
    found = [Bar(label, count, f"{short(count)}  ({share(count, total)})", colour) for label, count in rows]
    return bars(name, caption, found, room=1.6 if half else 1.3, height=0.3, width=HALF if half else FULL)


def drops(rows: Sequence[tuple[str, int]], total: int) -> Picture:
    """Documents that each rule dropped, most first, out of ``total``. Rare rules share a bar."""
    rest = sum(count for _, count in rows[RULES_DRAWN:])
    others = [(f"{len(rows) - RULES_DRAWN} other rules", rest)] if rest else []
    shown = [(words(rule), count) for rule, count in rows[:RULES_DRAWN]]
    return counts("drops", "Documents dropped, by rule", [*shown, *others], total, AMBER)


def histogram(
    name: str, caption: str, series: Sequence[tuple[str, Histogram]], unit: str, text: str, half: bool = False
) -> Picture:
    """Counts over sizes that double from bin to bin. ``text``: what is counted."""
    bins = [int(key) for _, found in series for key, count in found.items() if count]
    low, high = min(bins, default=0), max(bins, default=0)
    places = np.arange(low, high + 1)

    def paint(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        width = 0.84 / len(series)
        for number, (label, found) in enumerate(series):
            heights = [found.get(str(place), 0) for place in places]
            offset = (number - (len(series) - 1) / 2) * width
            axes.bar(places + offset, heights, width=width, color=(BLUE, AMBER, TEAL)[number % 3], label=label)
        step = max(1, math.ceil(len(places) / (5 if half else 12)))
        shown = places[::step]
        axes.set_xticks(shown, [_size(2 ** int(place), unit) for place in shown])
        axes.set_xlim(low - 0.7, max(high, low + 3) + 0.7)
        label_ticks(axes.yaxis)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_ylabel(text)
        axes.set_xlabel(f"{unit}, and up to twice as many")
        if len(series) > 1:
            axes.legend(frameon=False, fontsize=8.5, handlelength=1.0, labelcolor=INK)

    return draw(name, caption, (HALF if half else FULL, 2.5), paint)


def scores(found: Sequence[int], bound: float) -> Picture:
    """A histogram of documents over the quality score from 0 to 1, with the bound for keeping them."""

    def paint(axes: "Axes") -> None:
        from matplotlib.ticker import MaxNLocator

        width = 1 / len(found)
        axes.bar((np.arange(len(found)) + 0.5) * width, found, width=0.84 * width, color=BLUE)
        axes.axvline(bound, color=ROSE, linewidth=1.4)
        left = bound > 0.5  # so that the label stays inside
        axes.annotate(
            f"stays: at least {bound:.4g}", (bound, 1), (-6 if left else 6, 0), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="right" if left else "left", va="bottom", color=ROSE,
        )  # fmt: skip
        axes.set_xlim(0, 1)
        label_ticks(axes.yaxis)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_ylabel("documents")
        axes.set_xlabel("score")

    return draw("scores", "Score of quality", (FULL, 2.5), paint)


def vocabularies(rows: Sequence[tuple[str, Mapping[str, float]]]) -> Picture:
    """Bytes per token of every vocabulary, one point per source. The first vocabulary is ours."""

    def paint(axes: "Axes") -> None:
        for place, (_, found) in enumerate(rows):
            axes.plot(list(found.values()), [place] * len(found), color=PALE, linewidth=1)
            axes.plot(
                list(found.values()), [place] * len(found), "o", color=BLUE if place == 0 else MUTED, markersize=5.5
            )
        name_rows(axes, [name for name, _ in rows])
        label_ticks(axes.xaxis)
        axes.set_xlabel("bytes per token, one point a source (more is shorter)")

    return draw("vocabularies", "Bytes per token by vocabulary", (FULL, 0.85 + 0.4 * len(rows)), paint)


def _size(value: int, unit: str) -> str:
    if unit != "bytes":
        return short(value)
    for scale, name in ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")):
        if value >= scale:
            return f"{value // scale} {name}B"
    return f"{value} B"
