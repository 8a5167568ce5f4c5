"""What do the cleaning rules do to a tiny model of web text?

``python -m benchmarks.rules_vs_none [--write docs/results/rules_vs_none.md]``: the same sources, model, budget and seed
with FineWeb's rules and near deduplication, and with neither; through the store, so that what is there is found. Prints
the table, and writes it with the figure of both curves. ``benchmarks/rules_vs_none/*.yaml`` are the experiments.
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from llm_core.errors import PedigreeError
from llm_core.experiment.suites import SuiteSpec
from llm_core.intervals import clustered_mean
from llm_core.report.formatting import exact, in_bytes, percent, short, signed
from llm_core.report.style import BLUE, ROSE, draw
from llm_core.store.manifest import Artifact
from llm_core.train.metrics_log import METRICS, read_metrics
from pipelines import show
from pipelines.session import open_session

SIDES = ("none", "fineweb")
FOLDER = Path(__file__).parent
COMMAND = "python -m benchmarks.rules_vs_none"

FIELDS = {"accuracy": "correct", "accuracy_per_byte": "correct_per_byte", "bits_per_byte": "bits_per_byte"}
"""Figure of a suite → field of an item's line."""

Side = dict[str, Artifact]


def main() -> None:
    """Make both sides, print the table, write page and figure."""
    parser = argparse.ArgumentParser(description="A tiny model of web text, with rules and without.")
    parser.add_argument("--write", type=Path, help="Markdown file to write; the figure goes beside it.")
    target = parser.parse_args().write
    sides = {name: made(FOLDER / f"{name}.yaml") for name in SIDES}
    suites = open_session(str(FOLDER / "none.yaml")).experiment.evaluation.suites
    text = "\n".join([*data_table(sides), "", *score_table(sides, suites), "", *held_out_lines(sides)])
    print(text)
    if target is not None:
        picture = draw("rules_vs_none", "", (8.4, 3.4), lambda axes: paint(axes, sides))
        picture.save(target.parent)
        target.write_text(page(text, sides), encoding="utf-8")


def made(path: Path) -> Side:
    """The artifacts of one side, by stage."""
    session = open_session(str(path))
    wanted = {"eval_results", "data_report"}
    show.run(Console(), session, wanted)
    items = {item.stage: item.artifact for item in session.planner().plan(wanted)}
    missing = [stage for stage, artifact in items.items() if artifact is None]
    if missing:
        raise PedigreeError(f"{path}: {missing[0]} was not made")
    return {stage: artifact for stage, artifact in items.items() if artifact is not None}


def data_table(sides: Mapping[str, Side]) -> list[str]:
    """What each side reads."""
    rows: list[tuple[str, list[str]]] = []
    for name, stage, field, form in (
        ("documents of the sources", "raw_documents", "documents", exact),
        ("dropped by rules", "clean_documents", "dropped", exact),
        ("dropped as repeats", "unique_documents", "dropped", exact),
        ("dropped for holding an eval's text", "decontaminated_documents", "dropped", exact),
        ("held out", "pretraining_documents", "heldout_documents", exact),
        ("dropped as repeats of what is held out", "pretraining_documents", "dropped", exact),
        ("documents to train on", "pretraining_documents", "train_documents", exact),
        ("text to train on", "pretraining_documents", "train_bytes", in_bytes),
        ("tokens to train on", "token_shards", "train_tokens", short),
        ("tokens trained on", "pretrained_model", "tokens", short),
    ):
        rows.append((name, [form(sides[side][stage].stats[field]) for side in SIDES]))
    passes = [
        side["pretrained_model"].stats["tokens"] / side["token_shards"].stats["train_tokens"] for side in sides.values()
    ]
    rows.append(("passes over the data", [f"{count:.2f}" for count in passes]))
    return [
        f"| | {' | '.join(SIDES)} |",
        "|---|---|---|",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows),
    ]


def score_table(sides: Mapping[str, Side], suites: Sequence[SuiteSpec]) -> list[str]:
    """Every figure of the suites on both sides, and the difference over the same items with its standard error."""
    lines = ["| suite | figure | none | fineweb | fineweb − none, same items | chance |", "|---|---|---|---|---|---|"]
    for suite in suites:
        scores = [[row for row in rows(side, "scores.jsonl") if row["task"] == suite.name] for side in sides.values()]
        figures = [[row for row in rows(side, "evals.jsonl") if row["task"] == suite.name] for side in sides.values()]
        for none, fineweb in zip(*figures, strict=True):
            field, shares = FIELDS[none["metric"]], none["metric"] != "bits_per_byte"
            apart = [after[field] - before[field] for before, after in zip(*scores, strict=True)]
            weights = None if shares else [score["bytes"] for score in scores[0]]
            difference, error, *_ = clustered_mean(apart, [score["cluster"] for score in scores[0]], weights)
            form = percent if shares else "{:.4f}".format
            cells = [f"{form(row['value'])} ± {form(row['stderr'])}" for row in (none, fineweb)]
            gap = (
                f"{signed(100 * difference, 1)} ± {100 * (error or 0):.1f} points"
                if shares
                else f"{signed(difference)} ± {error:.4f}"
            )
            chance = percent(none["chance"]) if none["chance"] is not None else ""
            lines.append(
                f"| {suite.name} | {none['metric'].replace('_', ' ')} | {' | '.join(cells)} | {gap} | {chance} |"
            )
    return lines


def held_out_lines(sides: Mapping[str, Side]) -> list[str]:
    """Each side on its own held-out text, which the other side never saw as it is."""
    stats = [side["eval_results"].stats for side in sides.values()]
    return [
        "Bits per byte of each side's own held-out documents, which are not the same: "
        + ", ".join(f"{name} {found['bits_per_byte']:.3f}" for name, found in zip(SIDES, stats, strict=True))
        + "."
    ]


def curve(side: Side) -> tuple[list[float], list[float]]:
    """(tokens, bits per byte of the side's held-out text) at every validation."""
    index = json.loads((side["token_shards"].path / "shards.json").read_bytes())
    held = side["pretraining_documents"].stats["heldout_bytes"] / index["splits"]["heldout"]["tokens"]
    steps = [
        row for row in read_metrics(side["pretrained_model"].path / METRICS) if row.get("validation_loss") is not None
    ]
    return [row["tokens"] for row in steps], [row["validation_loss"] / math.log(2) / held for row in steps]


def paint(axes: Any, sides: Mapping[str, Side]) -> None:
    """Both curves."""
    for (name, side), colour in zip(sides.items(), (ROSE, BLUE), strict=True):
        tokens, bits = curve(side)
        axes.plot([count / 1e6 for count in tokens], bits, color=colour, marker="o", markersize=3, label=name)
        axes.annotate(f"{name} {bits[-1]:.3f}", (tokens[-1] / 1e6, bits[-1]), (6, 0), textcoords="offset points",
                      va="center", color=colour, annotation_clip=False)  # fmt: skip
    axes.margins(x=0.14)
    axes.set_xlabel("million training tokens")
    axes.set_ylabel("bits per byte, own held-out text")


def page(text: str, sides: Mapping[str, Side]) -> str:
    """The results page."""
    model = sides["none"]["pretrained_model"].stats
    minutes = [sum(artifact.manifest.seconds for artifact in side.values()) / 60 for side in sides.values()]
    took = " and ".join(f"{value:.1f}" for value in minutes)
    return f"""# With rules and without

A model of {short(model["parameters"])} parameters on `webmix_cc` and `govweb_us`, once with FineWeb's rules and near
deduplication, once with neither; the same model, seed, budget and learning rates, and a vocabulary learnt from each
side's own text. Both leave out what holds the evals' own texts. One run each: what lies within two standard errors is
noise of the items alone, and another seed adds to it.
`{COMMAND} --write docs/results/rules_vs_none.md`, {took} minutes on {model["device"]}.

{text}

![Both curves](rules_vs_none.png)

The curves are over each side's own held-out documents, so their heights say how predictable the text is, and not which
model is better; the suites are the same for both.
"""


def rows(side: Side, name: str) -> list[dict[str, Any]]:
    """The lines of a file of ``eval_results``."""
    return [json.loads(line) for line in (side["eval_results"].path / name).read_bytes().splitlines()]


if __name__ == "__main__":
    main()
