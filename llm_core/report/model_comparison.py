"""The stage ``model_comparison``: one page with the scores of all models of an experiment, on the same items."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.graph.job import Job
from llm_core.report.blocks import Block, Cell, Row, Section, Table, note, text
from llm_core.report.formatting import NONE, count, signed
from llm_core.report.page import save_pictures, write_page
from llm_core.report.results import Page
from llm_core.report.sections.scores import NAMES
from llm_core.report.sections.suites import METRICS, written
from llm_core.science.tuning_comparison import BITS, compared, score_lines

PAGE = "models.html"

Lines = Sequence[Mapping[str, Any]]


class ModelComparison(Page):
    """Scores of models beside those of the first one."""

    models: dict[str, list[dict[str, Any]]]
    """Model → a row per score, as in ``TuningComparison``: ``before`` is the score of the first model."""


def build(job: Job, title: str, models: Mapping[str, str]) -> ModelComparison:
    """Write ``models.html``. ``models``: stage of a model → stage of its scores; all are compared with the first."""
    (first, base), *others = models.items()
    lines = score_lines(job.path(base, "scores.jsonl"))
    found = {model: compared(lines, score_lines(job.path(scores, "scores.jsonl"))) for model, scores in others}
    page = {"models": section(first, found)}
    write_page(job, PAGE, "models", title, "All models of the experiment on the same items.", page)
    return ModelComparison(page_bytes=(job.out / PAGE).stat().st_size, figures=save_pictures(job, page), models=found)


def section(first: str, models: Mapping[str, Lines]) -> Section:
    """The table of scores × models, and a sentence for each model."""
    said: list[Block] = [text(_sentence(first, model, rows)) for model, rows in models.items()]
    own = next(iter(models.values()))
    rows = [
        Row(
            (
                NAMES.get(str(score["task"]), str(score["task"])).removesuffix(", this model"),
                METRICS.get(str(score["metric"]), str(score["metric"])),
                written(score["metric"])(score["before"]),
                *(_cell(rows[number]) for rows in models.values()),
            )
        )
        for number, score in enumerate(own)
    ]
    how = note(
        f"Below each score: its difference from {first}, and the 95% interval of the difference, from pairs of equal "
        "items; the items of a document or a paradigm count as one. A score has a colour if the difference is decided: "
        "p < 0.05 after Holm's adjustment for the number of scores of a model. For bits per byte, less is better."
    )
    return Section("Models", [*said, Table(("Task", "Metric", first, *models), rows, names=2, pinned=True), how])


def _sentence(first: str, model: str, rows: Lines) -> str:
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in ("better", "worse", "undecided")}
    return (
        f"{model} beside {first}: of {count(len(rows), 'score')}, {counts['better']} better, {counts['worse']} worse, "
        f"{counts['undecided']} undecided."
    )


def _cell(row: Mapping[str, Any]) -> Cell:
    def points(share: float) -> str:
        return signed(100 * share, 1)

    shown = signed if row["metric"] == BITS else points
    known = row["low"] is not None and row["low"] != row["high"]
    interval = f"{shown(row['low'])} to {shown(row['high'])}" if known else NONE
    style = row["verdict"] if row["verdict"] != "undecided" else ""
    return Cell(written(row["metric"])(row["after"]), style, f"{shown(row['difference'])} ({interval})", row["verdict"])
