"""The section about the noise between seeds."""

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Marked, Section, Table, note, text
from llm_core.report.formatting import count, percent


def noise(job: Job) -> Section | None:
    """How much runs differ that differ only in their seed."""
    found = read.noise(job.inputs)
    if found is None:
        return None
    if found.sd is None or found.low is None or found.high is None:
        told = text(
            "The noise is not known, because no size was trained with several seeds. Give at least one size of the "
            "study ", Marked("seeds: 3", "code"), ".",
        )  # fmt: skip
        return Section("Noise", [told])
    told = text(
        f"The loss of a run varies by {percent(found.sd)} from seed to seed (one standard deviation; 90% interval: "
        f"{percent(found.low)} to {percent(found.high)}). A difference of less than "
        f"{percent(2 * 2**0.5 * found.sd)} between two single runs may be chance alone."
    )
    rows = [
        (width, *_cells(of_width)) for width, of_width in sorted(found.by_width.items(), key=lambda item: int(item[0]))
    ]
    if len(rows) > 1:
        rows.append(("all", *_cells(found.model_dump())))
    how = note(
        "The interval is that of the chi-squared distribution. It is wide for few seeds. The limit for two single runs "
        "is twice the standard deviation of their difference."
    )
    return Section("Noise", [told, Table(("Width", "Standard deviation", "90% interval", "Seeds"), rows), how])


def _cells(noise: dict[str, float]) -> tuple[str, ...]:
    beyond = count(round(noise["freedom"]), "more seed")
    return percent(noise["sd"]), f"{percent(noise['low'])} to {percent(noise['high'])}", beyond
