"""The section about measured techniques: one table, and the sentence that follows from it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any

from llm_core.optimizations.layer_techniques import LAYERS
from llm_core.optimizations.model_techniques import MODEL
from llm_core.optimizations.position_techniques import POSITIONS
from llm_core.optimizations.results import OptimizationTable
from llm_core.optimizations.step_techniques import STEP
from llm_core.optimizations.technique import Technique
from llm_core.optimizations.techniques import TECHNIQUES
from llm_core.report.blocks import Block, Cell, Row, Section, Table, note, text
from llm_core.report.formatting import NONE, count, duration, exact, in_bytes, percent, short, signed

GROUPS: dict[str, Mapping[str, Technique]] = {
    "How a step is computed": STEP,
    "The model": MODEL,
    "Positions": POSITIONS,
    "Parts of a layer": LAYERS,
}
COLUMNS = ("Technique", "Tokens/s", "Memory", "Loss", "Lines", "Use when", "Skip when", "Upkeep")
SAID = {"better": "", "worse": "", "equivalent": "no difference", "undecided": "undecided"}
NARROW, LINE = 21, 26
"""Characters of a line in the first column, which stays in sight on a phone, and in the others."""
NAMED = 4
"""Techniques that the sentence names per verdict, the largest differences first."""
SLOW_START = 2.0
"""Seconds that the first step must take longer for the table to say so."""
_PARTS = (
    ("speed", "Faster", "Slower"),
    ("memory", "Less memory", "More memory"),
    ("loss", "Lower loss", "Higher loss"),
)


def techniques(table: OptimizationTable, tokens: int, margin: float, loss_margin: float) -> Section:
    """``tokens``: of each training. ``margin``, ``loss_margin``: differences that do not matter."""
    clocks = {row["name"]: row for row in table.clocks}
    rows: list[Row] = []
    for group, members in GROUPS.items():
        found = [row for row in table.rows if row["name"] in members]
        if found:
            rows.append(Row((_in_lines(group, NARROW), *[""] * (len(COLUMNS) - 1)), "level"))
            rows += [Row(_laid_out(_cells(row, clocks[row["name"]]))) for row in found]
    blocks: list[Block] = [text(sentence) for sentence in said(table, tokens)]
    blocks.append(Table(COLUMNS, rows, names=len(COLUMNS), pinned=True))
    blocks.append(
        note(
            "Both sides of a row have the experiment's recipe but for the technique, with the same seeds, order of "
            "data and held-out text; they took turns. ● marks what the recipe has. Tokens/s and memory: medians; "
            "± is the 95% interval. Only what is decided at 95%, for all rows together, has a colour. No difference: "
            f"speed or memory is surely within ±{percent(margin)}, or the loss within ±{percent(loss_margin)}. "
            "Memory: the peak of a step; on a CPU, that of the process without Python and torch. Loss: "
            "held-out bits per byte at equal tokens. These are so few that the loss says how a model starts, and not "
            "where it ends: for that, make the technique an idea of a study. Lines: code without comments; ≤: the "
            "technique is a part of them."
        )
    )
    return Section("Techniques", blocks)


def said(table: OptimizationTable, tokens: int) -> list[str]:
    """What follows: which techniques are better and worse in what, as far as it is decided."""
    clocks = {row["name"]: row for row in table.clocks}
    measured = [row for row in table.rows if not row["left_out"]]
    rounds = count(max((row["rounds"] for row in table.rows), default=0), "round")
    sentences = [
        f"{count(len(measured), 'technique')} on {table.device or 'no device'}, {exact(tokens)} tokens per training, "
        f"{rounds}. " + _counted(len(table.rows) - len(measured))
    ]
    for what, good, bad in _PARTS:
        judged = {row["name"]: row["loss"] if what == "loss" else clocks[row["name"]].get(what) for row in measured}
        told = [
            f"{word}: {_named(what, chosen)}."
            for verdict, word in (("better", good), ("worse", bad))
            if (
                chosen := {name: one["difference"] for name, one in judged.items() if one and one["verdict"] == verdict}
            )
        ]
        sentences.append(" ".join(told) or f"No difference in {what} is decided.")
    if broken := [TECHNIQUES[row["name"]].title for row in measured if _differs(row)]:
        sentences.append(f"Should compute the same numbers and do not: {', '.join(broken)}.")
    return sentences


def _counted(left_out: int) -> str:
    return f"{left_out} more can't be measured here, each for the reason in its row." if left_out else ""


def _named(what: str, differences: Mapping[str, float]) -> str:
    """The techniques with the largest differences."""
    names = sorted(differences, key=lambda name: -abs(differences[name]))
    told = ", ".join(f"{TECHNIQUES[name].title} ({_change(what, differences[name])})" for name in names[:NAMED])
    return f"{told} and {len(names) - NAMED} more" if len(names) > NAMED else told


def _cells(row: Mapping[str, Any], clocks: Mapping[str, Any]) -> list[Cell]:
    technique = TECHNIQUES[row["name"]]
    mark = " ●" if row["in_recipe"] == "after" else ""
    source = f" ({technique.source})" if technique.source else ""
    head = Cell(technique.title + mark, more=technique.versus + source)
    lines = Cell(f"{'≤ ' if technique.part else ''}{clocks['lines']}")
    words = [Cell(said) for said in (technique.use, technique.skip, technique.upkeep)]
    if row["left_out"]:
        reason = Cell(head.text, more=f"{technique.versus}. Not measured: {row['left_out']}")
        return [reason, Cell(NONE), Cell(NONE), Cell(NONE), lines, *words]
    before, after = clocks["before"], clocks["after"]
    speeds = f"{short(before['tokens_per_second'])} → {short(after['tokens_per_second'])}"
    wait = after["first_seconds"] - before["first_seconds"]
    if wait > SLOW_START:
        speeds += f"; first step +{duration(wait)}"
    memory = f"{in_bytes(before['memory'])} → {in_bytes(after['memory'])}"
    return [head, _judged("speed", clocks["speed"], speeds), _judged("memory", clocks["memory"], memory),
            _loss(row, technique), lines, *words]  # fmt: skip


def _judged(what: str, found: Mapping[str, Any] | None, sides: str) -> Cell:
    """A change with its interval; coloured where it is decided. None: it has no interval."""
    if found is None:
        return Cell(NONE, more=sides)
    reach = math.expm1((found["high"] - found["low"]) / 2)
    word = SAID[found["verdict"]]
    return Cell(
        f"{_change(what, found['difference'])} ± {100 * reach:.{_digits(what)}f}%",
        found["verdict"] if not word else "",
        more=f"{sides}; {word}" if word else sides,
    )


def _loss(row: Mapping[str, Any], technique: Technique) -> Cell:
    before, after = ("diverged" if row[side] is None else f"{row[side]:.3f}" for side in ("before", "after"))
    sides = f"{before} → {after}"
    if technique.effect == "own_rate":
        return Cell("not compared", more=f"{sides}; needs its own rate")
    if technique.effect == "changes":
        return _judged("loss", row["loss"], sides)
    if row["deviation"] is None:
        return Cell("not compared", more="dropout, or a loss per micro-batch")
    if _differs(row):
        return Cell("other numbers", "worse", more=f"first step: {row['deviation']:.0e}")
    return Cell("same numbers", more=f"first step: {row['deviation']:.0e}")


def _laid_out(cells: Sequence[Cell]) -> list[Cell]:
    """A table that scrolls makes columns as narrow as it can, so the lines of cells are fixed."""
    widths = [NARROW, *[LINE] * (len(cells) - 1)]
    return [
        replace(cell, text=_in_lines(cell.text, width), more=_in_lines(cell.more, width))
        for cell, width in zip(cells, widths, strict=True)
    ]


def _in_lines(sentence: str, width: int) -> str:
    """The sentence, which can be broken only at the ends of lines of this many characters."""
    return " ".join(line.replace(" ", "\N{NO-BREAK SPACE}") for line in wrap(sentence, width))


def _differs(row: Mapping[str, Any]) -> bool:
    return row["deviation"] is not None and row["deviation"] > row["tolerance"]


def _change(what: str, log: float) -> str:
    """The change of tokens per second, memory or loss in percent."""
    share = round(100 * math.expm1(-log if what == "speed" else log), _digits(what))
    return f"{signed(share + 0.0, _digits(what))}%"  # + 0.0: there is no −0


def _digits(what: str) -> int:
    return 2 if what == "loss" else 1
