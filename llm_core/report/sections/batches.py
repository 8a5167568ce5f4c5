"""The section about the batch: the noise scale of the gradients, and runs with larger batches."""

from typing import Any

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Marked, Pair, Section, Table, note, text
from llm_core.report.formatting import NONE, exact, short, signed_percent
from llm_core.report.study_plots import noise_scales
from llm_core.study.results import BatchLaw


def batches(job: Job) -> Section | None:
    """Where the launched batch lies beside the batch at which larger ones stop to pay."""
    found = read.batches(job.inputs)
    if found is None:
        return None
    blocks: list[Block] = [text(_said(found))]
    known = [row for row in found.scales if row["batch"] is not None]
    rows = [_check(row, known) for row in found.checks]
    if known:
        picture = noise_scales(found, known, job.inputs[read.BATCHES].manifest.config["tokens"])
        trunks = [(str(row["width"]), short(row["tokens"]), *_scale(row)) for row in known]
        blocks.append(Pair([picture, Table(("Width", "Training tokens", "Noise scale", "90% interval"), trunks)]))
        blocks.append(
            note(
                "The noise scale is the variance of the gradient over its squared length, in tokens (McCandlish et "
                "al., 2018). A batch far below it reads as many tokens for the same loss, in more steps; a batch far "
                "above it wastes text. It grows during training, so the law over tokens is extrapolated."
            )
        )
    if rows:
        columns = ("Width", "Times the batch", "Tokens", "Noise scale", "Loss", "Chance alone", "Agrees")
        blocks.append(Table(columns, rows, caption="Runs with larger batches"))
    else:
        blocks.append(
            text(
                "No run checks this. Give one size of the study ", Marked("batches: [2, 4]", "code"),
                " to see what larger batches cost.",
            )
        )  # fmt: skip
    return Section("Batch", blocks)


def _said(found: BatchLaw) -> str:
    launched = f"The launched batch is {exact(found.launched)} tokens."
    if found.critical is None or found.critical_low is None or found.critical_high is None:
        return f"{launched} The noise scale of the gradients is not known: {found.unknown}."
    told = (
        f"{launched} Larger batches stop to pay at about {short(found.critical)} tokens by the end of the run (90%: "
        f"{short(found.critical_low)} to {short(found.critical_high)})."
    )
    if found.launched < found.critical_low:
        return f"{told} The launched one lies below: keep it, or take a larger one where more devices shorten the run."
    if found.launched <= found.critical_high:
        return f"{told} The launched one lies within: keep it; a larger one would hardly pay."
    return f"{told} The launched one lies above and wastes text: lower training.batch_tokens."


def _scale(row: dict[str, Any]) -> tuple[str, str]:
    return short(row["batch"]), f"{short(row['low'])} to {short(row['high'])}"


def _check(row: dict[str, Any], scales: list[dict[str, Any]]) -> tuple[str, ...]:
    own = [scale for scale in scales if scale["width"] == row["width"]]
    scale = max(own, key=lambda found: found["tokens"]) if own else None
    chance = None if row["sd"] is None else 2 * row["sd"]
    return (
        str(row["width"]),
        f"{row['times']:g}",
        short(row["batch"]),
        NONE if scale is None else short(scale["batch"]),
        signed_percent(row["cost"]),
        NONE if chance is None else f"±{100 * chance:.2f}%",
        NONE if scale is None or chance is None else _agrees(row, scale, chance),
    )


def _agrees(row: dict[str, Any], scale: dict[str, Any], chance: float) -> str:
    """A batch below the noise scale should cost nothing, one above it something."""
    if row["cost"] > chance:
        return "yes: above it, and costs" if row["batch"] > scale["low"] else "no: below it, but costs"
    return "yes: below it, and free" if row["batch"] <= scale["high"] else "no: above it, but free"
