"""More seeds for the ideas of a study that are undecided, until each is decided or has the most seeds allowed.

An idea gets twice its seeds each time. So the number of looks is known before the first one, and each is judged at its
share of the error level (``llm_core.science.comparison``).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import expm1
from typing import Any

from rich.console import Console
from rich.table import Table

from assets.graph import experiment_graph
from llm_core.errors import PedigreeError
from llm_core.experiment.study import StudySize, StudySpec
from llm_core.study.ablation_report import ROWS
from pipelines import show
from pipelines.session import Session

REPORT = "ablation_report"


@dataclass(frozen=True)
class Decision:
    """``rows``: those of the last report. ``study``: the section with which the report was made."""

    rows: list[dict[str, Any]]
    study: StudySpec


def decide(console: Console, session: Session, most: int, agree: Callable[[str], bool]) -> Decision:
    """Make ``ablation_report``, and again with more seeds for what it leaves undecided. ``most``: seeds per idea."""
    study = session.experiment.study
    if study is None or not study.ideas:
        raise PedigreeError("the experiment has no study.ideas to decide about")
    few = [size.width for size in study.sizes if size.ideas and size.seeds < 2]
    if few:
        raise PedigreeError(f"study.sizes: width {few[0]}: one seed shows no noise between seeds; give it seeds: 2")
    looks = max(study.looks, *(_looks(size.seeds, most) for size in study.sizes if size.ideas))
    study = study.model_copy(update={"looks": looks})
    while True:
        experiment = session.experiment.model_copy(update={"study": study})
        session = replace(session, experiment=experiment, graph=experiment_graph(experiment))
        show.run(console, session, {REPORT}, agree=agree)
        rows = reported(session)
        more = further(study.sizes, rows, most)
        if not more:
            return Decision(rows, study)
        for (width, idea), seeds in more.items():
            console.print(f"width {width}: {idea} is undecided: {seeds} seeds", markup=False)
        study = study.model_copy(update={"sizes": with_seeds(study.sizes, more)})


def reported(session: Session) -> list[dict[str, Any]]:
    """The rows of ``ablation_report``."""
    items = {item.stage: item.artifact for item in session.planner().plan({REPORT})}
    report = items[REPORT]
    if report is None:
        raise PedigreeError(f"{REPORT} was not made")
    found: list[dict[str, Any]] = json.loads((report.path / ROWS).read_bytes())
    return found


def further(sizes: Sequence[StudySize], rows: Sequence[Mapping[str, Any]], most: int) -> dict[tuple[int, str], int]:
    """(Width, idea) → its next number of seeds, for undecided ideas that have fewer than ``most``."""
    now = {
        (size.width, row["idea"]): size.idea_seeds.get(row["idea"], size.seeds)
        for size in sizes
        for row in rows
        if row["width"] == size.width and row["verdict"] == "undecided"
    }
    return {place: min(2 * seeds, most) for place, seeds in now.items() if seeds < most}


def with_seeds(sizes: Sequence[StudySize], more: Mapping[tuple[int, str], int]) -> tuple[StudySize, ...]:
    """The sizes with so many seeds of each idea."""
    own = {size.width: {idea: seeds for (width, idea), seeds in more.items() if width == size.width} for size in sizes}
    return tuple(size.model_copy(update={"idea_seeds": {**size.idea_seeds, **own[size.width]}}) for size in sizes)


def _looks(seeds: int, most: int) -> int:
    looks = 1
    while seeds < most:
        seeds, looks = 2 * seeds, looks + 1
    return looks


def verdicts(rows: Sequence[Mapping[str, Any]]) -> Table:
    """One line per size and idea."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("width", "idea", "verdict", "difference", "95% interval", "seeds"):
        table.add_column(name, justify="left" if name in ("idea", "verdict") else "right")
    for row in rows:
        interval = "" if row["low"] is None else f"{expm1(row['low']):+.2%} to {expm1(row['high']):+.2%}"
        difference = "" if row["difference"] is None else f"{expm1(row['difference']):+.2%}"
        table.add_row(str(row["width"]), row["idea"], row["verdict"], difference, interval, str(row["seeds"]))
    return table


def to_write(study: StudySpec) -> str:
    """What the experiment must say so that its own report is this one."""
    sizes = [
        f"    - {{width: {size.width}, seeds: {size.seeds}, idea_seeds: "
        f"{{{', '.join(f'{idea}: {seeds}' for idea, seeds in size.idea_seeds.items())}}}, …}}"
        for size in study.sizes
        if size.idea_seeds
    ]
    lines = ["With this in the experiment, `pedigree run` finds all of it made (… are the other settings of a size):"]
    lines += ["study:", f"  looks: {study.looks}", *(["  sizes:", *sizes] if sizes else [])]
    return "\n".join(lines)
