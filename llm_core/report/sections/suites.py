"""The sections and tables about eval suites in a study: which one can decide at which size, and their forecasts."""

from collections.abc import Callable, Mapping
from typing import Any

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Cell, Section, Table, note, text
from llm_core.report.formatting import NONE, bounds, percent
from llm_core.report.read import Inputs
from llm_core.study.results import LaunchGate
from llm_core.study.suites import BITS, rows_of

METRICS = {
    "bits_per_byte": "bits per byte",
    "accuracy": "accuracy",
    "accuracy_likelihood": "accuracy by likelihood alone",
    "accuracy_per_byte": "accuracy by likelihood per byte",
    "accuracy_per_character": "accuracy by likelihood per character",
    "accuracy_per_token": "accuracy by likelihood per token",
    "rouge_1": "ROUGE-1",
    "rouge_2": "ROUGE-2",
    "rouge_l": "ROUGE-L",
    "prompt_level_strict": "prompts whose rules are all kept, strictly",
    "prompt_level_loose": "prompts whose rules are all kept, loosely",
    "instruction_level_strict": "rules that are kept, strictly",
    "instruction_level_loose": "rules that are kept, loosely",
}
SUITES = {"continuation": "real continuation"}
"""The suite of questions from held-out text. The names of others are those of the experiment."""
Lines = list[dict[str, Any]]


def written(metric: str) -> Callable[[float], str]:
    """How a score of ``metric`` is written."""
    return "{:.4f}".format if metric == BITS else percent


def suites(job: Job) -> Section | None:
    """Which suite can decide at which size, and why not."""
    found = read.suite_signal(job.inputs)
    if found is None:
        return None
    widths = sorted({row["width"] for row in found.rows})
    columns = ("Suite", "Metric", *(f"Width {width}" for width in widths), "Chance", "At the largest size")
    rows = [
        (
            *_names(of_width[widths[-1]]),
            *(_cell(of_width[width]) for width in widths),
            _chance(of_width[widths[-1]]),
            of_width[widths[-1]]["reason"] or "decides",
        )
        for of_width in _by_score(found.rows).values()
    ]
    how = note(
        "Scores are those of the largest budget; those in teal decide. A score decides at a size if it ranks at least "
        "80% of pairs of runs rightly, of which one has read twice the text; if the gain from more text is no noise "
        "between seeds (95%, one-sided); and, for accuracies, if it is above chance (95%). The share of pairs is "
        "computed from the gain and the noise, and is lower for few seeds. Bits per byte are those of the right answer "
        "(Magnusson et al., 2025; Heineman et al., 2025)."
    )
    return Section("Suites", [text(_said(found.rows)), Table(columns, rows, names=2, pinned=True), how])


def decides(inputs: Inputs, task: str, metric: str) -> str | None:
    """The sizes of the study at which a score decides, or why there is none; None if nothing is known of it."""
    found = read.suite_signal(inputs)
    rows = [row for row in found.rows if (row["task"], row["metric"]) == (task, metric)] if found is not None else []
    if not rows:
        return None
    widths = [str(row["width"]) for row in rows if row["decides"]]
    return f"at width {', '.join(widths)}" if widths else f"at no size: {rows[-1]['reason']}"


def forecasts(inputs: Inputs) -> list[Block]:
    """The forecasts of the suites with which the full run was launched, and its scores; empty without any."""
    record, now = read.launched_with(inputs), read.suite_forecast(inputs)
    sealed = LaunchGate.model_validate(record.results).suites if record is not None else []
    told = sealed or (now.rows if now is not None else [])
    if not told:
        return []
    scored = rows_of(inputs[read.EVALUATED].path) if read.EVALUATED in inputs else {}
    rows = [_forecast(row, scored.get((row["task"], row["metric"]))) for row in told]
    columns = ("Suite", "Metric", "Forecast", "90% interval", "Chance", "Result")
    how = note(
        "Held-out loss → bits per byte of the right answer → accuracy, each step fitted to the runs of the study "
        "(Grattafiori et al., 2024; Bhagia et al., 2024). The intervals are for the same items."
    )
    young = [] if sealed or not scored else [text("The suites' forecasts were not sealed before the run began.")]
    return [*young, Table(columns, rows, names=2, caption="Scores on suites"), how]


def _forecast(row: Mapping[str, Any], scored: Mapping[str, Any] | None) -> tuple[str | Cell, ...]:
    wrote, result = written(row["metric"]), Cell(NONE)
    if row["forecast"] is None:
        expected, interval = Cell("not forecast", more=row["reason"]), NONE
        if scored is not None:
            result = Cell(wrote(scored["value"]))
    else:
        expected, interval = Cell(wrote(row["forecast"])), bounds((row["low"], row["high"]), wrote)
        if scored is not None:
            within = row["low"] <= scored["value"] <= row["high"]
            result = Cell(wrote(scored["value"]), more="within" if within else "outside")
    return *_names(row), expected, interval, _chance(row), result


def _said(rows: Lines) -> str:
    """What follows, from the largest size."""
    widest = max(row["width"] for row in rows)
    last = [row for row in rows if row["width"] == widest]
    good, bad = (
        ", ".join(" by ".join(_names(row)) for row in last if row["decides"] == wanted) for wanted in (True, False)
    )
    parts = [f"Compare runs of width {widest} on: {good}."] if good else []
    if bad:
        parts.append(f"{'Not' if good else f'Do not compare runs of width {widest}'} on: {bad}.")
    if all(row["noise"] is None for row in last):
        parts.append("The noise is not known: give at least one size of the study seeds: 3.")
    return " ".join(parts)


def _by_score(rows: Lines) -> dict[tuple[str, str], dict[int, Mapping[str, Any]]]:
    found: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["task"], row["metric"]), {})[row["width"]] = row
    return found


def _cell(row: Mapping[str, Any]) -> Cell:
    more = "" if row["ranked"] is None else f"ranks {row['ranked']:.0%}"
    return Cell(written(row["metric"])(row["score"]), "better" if row["decides"] else "", more, row["reason"])


def _names(row: Mapping[str, Any]) -> tuple[str, str]:
    """The suite and the metric, in words."""
    return SUITES.get(row["task"], row["task"]), METRICS.get(row["metric"], row["metric"])


def _chance(row: Mapping[str, Any]) -> str:
    return NONE if row["chance"] is None else percent(row["chance"])
