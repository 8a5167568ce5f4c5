"""Horizontal bars, one per name: the plot that most figures of the reports are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_core.report.style import BLUE, INK, RULE, Picture, draw, label_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FULL = 9.4
HALF = 4.6
"""Widths in inches: of the page, and of two figures side by side."""
LONGEST_NAME = 22
"""Maximum characters of a name beside or below a figure."""


@dataclass(frozen=True)
class Bar:
    """A bar with its ``label`` at the end. ``interval``: the bounds of the 95% interval."""

    name: str
    value: float
    label: str
    colour: str = BLUE
    interval: tuple[float, float] | None = None
    bold: bool = False


def bars(
    name: str,
    caption: str,
    rows: Sequence[Bar],
    unit: str = "",
    room: float = 1.3,
    height: float = 0.42,
    width: float = FULL,
    clock: bool = False,
    more: "Callable[[Axes], None] | None" = None,
) -> Picture:
    """The first row on top. ``unit``: the label of the axis; there is no axis without it.

    ``room``: the length of the axis, relative to the longest bar. ``height``: inches per row. ``more``: paints the
    rest.
    """

    def paint(axes: "Axes") -> None:
        for place, row in enumerate(rows):
            axes.barh(place, row.value, height=0.6, color=row.colour)
            low, high = row.interval or (row.value, row.value)
            if row.interval:
                axes.errorbar(
                    row.value, place, xerr=[[row.value - low], [high - row.value]], color=INK, capsize=3, linewidth=1
                )
            axes.annotate(
                row.label, (high, place), (6, 0), textcoords="offset points", va="center",
                weight="bold" if row.bold else "normal",
            )  # fmt: skip
        name_rows(axes, [row.name for row in rows])
        axes.set_xlim(0, max(*(row.value for row in rows), 1e-9) * room)
        if unit:
            label_ticks(axes.xaxis, most=4 if width == HALF else None)
            axes.set_xlabel(unit)
        else:
            axes.xaxis.set_visible(False)
            axes.spines["bottom"].set_visible(False)
        if more:
            more(axes)

    return draw(name, caption, (width, (0.8 if unit else 0.3) + height * len(rows)), paint, clock)


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
