"""``made.html`` beside a report: clock times, machines, versions, costs.

They differ in every rebuild. So they have their own page, and the report keeps the same bytes.
"""

from collections.abc import Mapping
from typing import Any

from llm_core.graph.job import Job
from llm_core.report import collect
from llm_core.report.page import render
from llm_core.report.style import Picture

PAGE = "made.html"


def write_made(job: Job, kind: str, title: str, pictures: Mapping[str, Picture], training: Mapping[str, Any]) -> None:
    """Write the page. ``training``: tiles, cost, machine and ablation of a training report; empty for a data report."""
    sections = [("cost", "Time and cost"), ("speed", "Speed")] if training else []
    sections += [("ablations", "Ablations")] if training.get("ablation") else []
    page = render(
        PAGE,
        kind=f"{kind}: how it was made",
        title=title,
        lead="What differs when the same is made again: times, machines, versions.",
        sections=[*sections, ("made", "When and where"), ("versions", "Versions")],
        pictures=pictures,
        made=collect.made(job.inputs),
        versions=collect.versions(job.inputs),
        **{"tiles": [], "cost": None, "machine": [], "ablation": None, **training},
    )
    (job.out / PAGE).write_text(page, encoding="utf-8")
