"""One style for all figures. The same drawing is a small PNG, and an SVG with the colours of the page."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from llm_core.report.formatting import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

INK = "#1d2733"
MUTED = "#66727f"
RULE = "#d9dfe6"
PAPER = "#ffffff"
BLUE = "#2b6cb0"
TEAL = "#1a8f7d"
AMBER = "#c47f17"
ROSE = "#c2503f"
PALE = "#a9c3df"

# In the SVG, each colour becomes a variable of the page's style sheet, so that one drawing fits light and dark mode.
VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    BLUE: "var(--blue)",
    TEAL: "var(--teal)",
    AMBER: "var(--amber)",
    ROSE: "var(--rose)",
    PALE: "var(--pale)",
}

SETTINGS: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": RULE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.6,
    "savefig.dpi": 100,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.5,
    "xtick.major.size": 3,
    "ytick.color": MUTED,
    "ytick.labelsize": 8.5,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Picture:
    """A drawn figure: ``png`` for a file, ``svg`` for a page. ``width`` in inches.

    ``clock``: it shows times or speeds, which differ in a rebuild.
    """

    name: str
    caption: str
    width: float
    png: bytes
    svg: str
    clock: bool = False
    block: ClassVar[str] = "picture"

    def save(self, out: Path) -> str:
        """Write the PNG below ``out``, into ``timing/`` or ``figures/``, and return its path there."""
        file = f"{'timing' if self.clock else 'figures'}/{self.name}.png"
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_bytes(self.png)
        return file


def draw(
    name: str, caption: str, size: tuple[float, float], paint: Callable[["Axes"], None], clock: bool = False
) -> Picture:
    """Call ``paint`` with the axes of a new figure of ``size`` inches, in this style only."""
    # Imported here and below, so that evaluating a stage's checks does not load matplotlib.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Does not use pyplot's global state, so that figures in one process are independent.
    with mpl.rc_context():
        mpl.rcdefaults()  # ignore this machine's matplotlibrc
        mpl.rcParams.update({**SETTINGS, "svg.hashsalt": name})
        figure = Figure(figsize=size)
        paint(figure.add_subplot())
        png, svg = io.BytesIO(), io.StringIO()
        figure.savefig(png, format="png", metadata={"Software": None})
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Picture(name, caption, size[0], png.getvalue(), _inline(svg.getvalue(), name, caption), clock)


def label_ticks(axis: "Axis", text: Callable[[float], str] = tick, most: int | None = None) -> None:
    """Write tick values with ``text``, and show at most about ``most`` of them."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if most is not None:
        axis.set_major_locator(MaxNLocator(most))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))


def _inline(svg: str, name: str, caption: str) -> str:
    """Only the ``<svg>`` element, with the page's colours and font, scaled to its column."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    # The page sets the font. Versions of matplotlib write it in two forms.
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]+;? ?", "", svg)
    svg = re.sub(r" xmlns(:xlink)?=\"[^\"]*\"", "", svg)
    # Matplotlib numbers its groups (axes_1, text_3) from one in every drawing, but ids must be unique in a page.
    svg = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt" ', "", svg, count=1)
    label = caption.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip()
