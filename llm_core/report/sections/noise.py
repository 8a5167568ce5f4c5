"""The section about the noise between seeds."""

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Marked, Section, Table, note, text
from llm_core.report.formatting import NONE, count, percent
from llm_core.study.results import NoiseLaw

LARGE = 0.25
"""Above this share of the variance, a longer held-out text helps."""


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
        return Section("Noise", [told, *_parts(found)])
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
    table = Table(("Width", "Standard deviation", "90% interval", "Seeds"), rows)
    return Section("Noise", [told, table, how, *_parts(found)])


def _parts(found: NoiseLaw) -> list[Block]:
    """What the noise comes from, as far as it is known."""
    widths = sorted({*found.orders, *found.text}, key=int)
    if not widths:
        return []
    rows = [
        (
            width,
            _percent(found.by_width.get(width, {}).get("sd")),
            *_order(found.orders.get(width)),
            _percent(found.weights.get(width)),
            _percent(found.text_between_seeds.get(width)),
            _percent(found.text.get(width)),
        )
        for width in widths
    ]
    columns = (
        "Width",
        "Between seeds",
        "Order of data",
        "90% interval",
        "Initial weights",
        "Text, between seeds",
        "Text",
    )
    how = note(
        "Standard deviations. The order of data is varied with the same initial weights; their part is what is left of "
        "the variance. Text: what another held-out text of the same length would change, by documents. All runs have "
        "the same text, so only the column between seeds is part of the noise."
    )
    return [*_said(found), Table(columns, rows, caption="The parts of the noise"), how]


def _said(found: NoiseLaw) -> list[Block]:
    """What follows from the parts, at the largest width that has them."""
    said = []
    if found.weights:
        width = max(found.weights, key=int)
        order, half = found.orders[width], found.by_width[width]["sd"] / 2**0.5
        if order["low"] > half:
            what = "most of the noise comes from the order of data"
        elif order["high"] < half:
            what = "most of the noise comes from the initial weights"
        else:
            what = "too few runs say whether the noise comes from the order of data or from the initial weights"
        said.append(f"At width {width}, {what}.")
    compared = [width for width in found.text_between_seeds if found.by_width[width]["sd"] > 0]
    if compared:
        width = max(compared, key=int)
        share = (found.text_between_seeds[width] / found.by_width[width]["sd"]) ** 2
        said.append(
            f"The length of the held-out text makes about {percent(min(share, 1.0))} of the variance between seeds at "
            f"width {width}: "
            + (
                "raise training.validation_tokens before you add seeds."
                if share > LARGE
                else "more seeds lower the noise, more held-out text hardly does."
            )
        )
    return [text(" ".join(said))] if said else []


def _percent(sd: float | None) -> str:
    return NONE if sd is None else percent(sd)


def _order(noise: dict[str, float] | None) -> tuple[str, str]:
    return (NONE, NONE) if noise is None else _cells(noise)[:2]


def _cells(noise: dict[str, float]) -> tuple[str, str, str]:
    beyond = count(round(noise["freedom"]), "more seed")
    return percent(noise["sd"]), f"{percent(noise['low'])} to {percent(noise['high'])}", beyond
