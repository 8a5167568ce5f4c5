"""The sections about ideas that were tried against the launched recipe: what they change in the loss, and in time."""

import json
from collections.abc import Mapping
from typing import Any

from llm_core.experiment.base import flat
from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Cell, Marked, Pair, Section, Table, note, text
from llm_core.report.formatting import NONE, count, percent, signed_percent
from llm_core.report.study_plots import forest
from llm_core.study.results import Ablations

Lines = list[dict[str, Any]]
SAID = {
    "better": "Take",
    "worse": "Leave out",
    "equivalent": "Makes no difference",
    "undecided": "Undecided",
    "diverged": "Diverges, also at its best rate",
}
COLOURED = ("better", "worse")
TEXT = (
    "An idea with another tokenizer has the same number of tokens, too. Text ×: the bytes that it reads, over those of "
    "the launched recipe. At equal text: the difference that the scaling law expects if it reads as many bytes."
)


def ideas(job: Job) -> Section | None:
    """The differences with their intervals and verdicts, and what follows."""
    found = read.ideas(job.inputs)
    if found is None:
        return None
    margin = job.inputs[read.IDEAS].manifest.config["margin"]
    by_width = {width: [row for row in found.rows if row["width"] == width] for width in _widths(found.rows)}
    drawn = {width: compared for width, rows in by_width.items() if (compared := [r for r in rows if _known(r)])}
    blocks: list[Block] = [text(_said(found)), *_missing(found.rows)]
    if drawn:
        blocks.append(Pair([forest(rows, width, margin) for width, rows in drawn.items()]))
    blocks.append(
        note(
            "Lines: 95% intervals. Teal arrows to the left are better, rose arrows to the right worse. Grey squares "
            f"are equivalent (within ±{percent(margin)}, the band), open circles undecided. An interval that reaches "
            "the edge goes on beyond it, and a number stands for a difference beyond it. Ideas and the launched recipe "
            "have the same seeds, data order and held-out text, and each has the best of the rates that were tried; "
            "verdicts are adjusted for the number of ideas."
        )
    )
    columns: tuple[str, ...] = (
        "Idea",
        "Width",
        "Verdict",
        "Difference",
        "Seeds",
        "Rate ×",
        "FLOPs ×",
        "At equal FLOPs",
    )
    lines = sorted(found.rows, key=_order)
    rows = [_cells(row, found.changes.get(row["idea"], {})) for row in lines]
    retokenized = any(row["text"] != 1 for row in lines)
    if retokenized:
        columns = (*columns, "Text ×", "At equal text")
        rows = [
            (*cells, _ratio(row["text"]), _difference(row["at_equal_text"]))
            for cells, row in zip(rows, lines, strict=True)
        ]
    blocks.append(Table(columns, rows, names=3, pinned=True))
    if retokenized:
        blocks.append(note(TEXT))
    if slopes := _slopes(found):
        blocks.append(text(slopes))
    return Section("Ideas", blocks)


def idea_times(job: Job) -> Section | None:
    """Speed and memory of the ideas, and the differences at equal time."""
    found = read.ideas(job.inputs)
    if found is None:
        return None
    rows = [
        (row["idea"], str(row["width"]), _ratio(row["speed"]), _ratio(row["memory"]), _difference(row["at_equal_time"]))
        for row in found.clocks
    ]
    how = text(
        "Ratios to the launched recipe. At equal time, a slower idea reads less text; the scaling law says what that "
        "costs. It has no interval."
    )
    return Section("Ideas", [how, Table(("Idea", "Width", "Speed ×", "Memory ×", "At equal time"), rows)])


def _said(found: Ablations) -> str:
    """What follows, from the largest width at which each idea was tried."""
    last: dict[str, dict[str, Any]] = {}
    for row in sorted(found.rows, key=lambda row: row["width"]):
        last[row["idea"]] = row
    parts = []
    for verdict, told in SAID.items():
        if names := [_named(row) for row in last.values() if row["verdict"] == verdict]:
            parts.append(f"{told}: {', '.join(names)}.")
    widths = _widths(found.rows)
    return f"{count(len(last), 'idea')} against the launched recipe, at width {widths[-1]}. {' '.join(parts)}"


def _named(row: Mapping[str, Any]) -> str:
    if row["verdict"] in COLOURED:
        spent = row["at_equal_flops"]
        turns = spent is not None and spent * row["difference"] < 0
        other = f"; but {signed_percent(spent)} at equal FLOPs" if turns else ""
        return f"{row['idea']} ({signed_percent(row['difference'])}{other})"
    if row["verdict"] == "undecided" and row["seeds_needed"]:
        return f"{row['idea']} (about {row['seeds_needed']} seeds would decide)"
    return str(row["idea"])


def _missing(rows: Lines) -> list[Block]:
    """What to do where nothing could be compared."""
    if few := sorted({row["idea"] for row in rows if row["seeds"] < 2 and row["verdict"] != "diverged"}):
        return [
            text(
                f"Nothing can be decided with fewer than two seeds ({', '.join(few)}). Give the sizes with ideas at "
                "least ", Marked("seeds: 3", "code"), ".",
            )
        ]  # fmt: skip
    return []


def _slopes(found: Ablations) -> str:
    """How the differences that were decided change with the size, in words."""
    decided = {row["idea"] for row in found.rows if row["verdict"] in COLOURED}
    told = []
    for idea in sorted(decided & found.slopes.keys()):
        largest = max((row for row in found.rows if row["idea"] == idea and _known(row)), key=lambda row: row["width"])
        grows = "grows" if found.slopes[idea] * largest["difference"] > 0 else "shrinks"
        told.append(f"{idea} {grows} by {percent(abs(found.slopes[idea]))}")
    if not told:
        return ""
    return (
        f"Per doubling of the width, the difference of {', of '.join(told)} of the loss. These slopes have no "
        "interval, so they are hints."
    )


def _cells(row: Mapping[str, Any], changes: Mapping[str, Any]) -> tuple[str | Cell, ...]:
    verdict = row["verdict"]
    colour = verdict if verdict in COLOURED else ""
    interval = "" if row["low"] is None else f"{signed_percent(row['low'])} to {signed_percent(row['high'])}"
    needed = f"{row['seeds_needed'] or 'no number'} would decide" if verdict == "undecided" else ""
    return (
        Cell(row["idea"], "nowrap", more=_changes(changes)),
        str(row["width"]),
        Cell(verdict, colour, more=f"{count(row['diverged'], 'run')} diverged" if row["diverged"] else ""),
        Cell(_difference(row["difference"]), colour, more=interval),
        Cell(str(row["seeds"]), more=needed),
        Cell(f"{row['multiple']:g}", more="at the edge" if row["at_edge"] else ""),
        _ratio(row["flops"]),
        _difference(row["at_equal_flops"]),
    )


def _changes(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{field}: {json.dumps(value)}" for field, value in flat(changes).items()) or NONE


def _difference(log: float | None) -> str:
    return NONE if log is None else signed_percent(log)


def _ratio(value: float) -> str:
    return f"{value:.3g}" if value == value else NONE


def _known(row: Mapping[str, Any]) -> bool:
    return row["difference"] is not None


def _order(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["idea"], row["width"]


def _widths(rows: Lines) -> list[int]:
    return sorted({row["width"] for row in rows})
