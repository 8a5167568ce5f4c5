"""Which ideas help? Each alone against Llama 3 with AdamW, in equal tokens and in equal time.

    python -m benchmarks.quality [EXPERIMENT.yaml] [--combination best] [--write docs/results/quality.md]

``study.yaml`` is the experiment. Its ``ablation_report`` is made through the store, as ``pedigree run`` does it, so
what was trained before is found again. Then the combination is trained for as many tokens as it reads in the time of
the launched recipe, at its best rate, with a schedule of its own.
"""

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from assets.graph import experiment_graph
from assets.study import study_ladder
from benchmarks.study_runs import finished, relative_speed
from llm_core.experiment.component import over
from llm_core.report.study_plots import forest
from llm_core.study.study_run import StudyRun
from pipelines import show
from pipelines.deciding import REPORT, reported
from pipelines.session import Session, open_session

EXPERIMENT = Path(__file__).with_name("study.yaml")
Loss = tuple[StudyRun, float]


def main() -> None:
    """Train what is missing, print the tables, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default=str(EXPERIMENT))
    parser.add_argument("--combination", default="best", help="the idea that is trained in equal time")
    parser.add_argument("--write", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    session = open_session(options.experiment)
    show.run(Console(), session, {REPORT})
    rows = reported(session)
    lines = table(rows)
    lines += ["", f"The combination, `{options.combination}`, in the time of the launched recipe:", ""]
    lines += combination_table([in_equal_time(session, row) for row in rows if row["idea"] == options.combination])
    print("\n".join(lines))
    if options.write is not None:
        assert session.experiment.study is not None
        pictures = [
            forest(compared, width, session.experiment.study.margin)
            for width in sorted({row["width"] for row in rows})
            if (compared := [row for row in rows if row["width"] == width and row["difference"] is not None])
        ]
        for picture in pictures:
            options.write.with_name(f"quality_{picture.name}.png").write_bytes(picture.png)
        shown = [f"![{picture.caption}](quality_{picture.name}.png)" for picture in pictures]
        options.write.write_text("\n".join(["# Which ideas help", "", *lines, "", *shown, ""]), encoding="utf-8")


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown lines: for each size the ideas, the best one in equal tokens first."""
    lines = [
        "| width | idea | difference | 95% interval | verdict | seeds | best rate | FLOPs | tokens/s | memory "
        "| in equal time |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: (row["width"], math.inf if (d := row["difference"]) is None else d)):
        interval = "" if row["low"] is None else f"{signed(row['low'])} to {signed(row['high'])}"
        cells = [
            *(str(row["width"]), row["idea"], signed(row["difference"]), interval, row["verdict"], str(row["seeds"])),
            f"{row['multiple']:g}×{', at an edge' if row['at_edge'] else ''}",
            *(f"{row[name]:.2f}×" for name in ("flops", "speed", "memory")),
            signed(row["at_equal_time"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def signed(log: float | None) -> str:
    """A difference of the logarithm of the loss, as a share of the loss."""
    return "" if log is None else f"{math.expm1(log):+.2%}"


def in_equal_time(session: Session, row: dict[str, Any]) -> tuple[dict[str, Any], list[Loss], list[Loss]]:
    """Train an idea for as many tokens as it reads in the processor time of the launched recipe, both at their best
    rates.

    Returns ``row``, the runs of the idea, and those of the launched recipe, by seed.
    """
    study = session.experiment.study
    assert study is not None
    runs = [run for run in study_ladder(session.experiment).ablations() if run.width == row["width"] and not run.idea]
    usual = [(run, loss) for run, loss in finished(session, tuple(runs)) if run.multiple == row["baseline_multiple"]]
    rate = session.experiment.training.optimizer.lr
    changes = study.ideas[row["idea"]]
    rate = changes.get("training", {}).get("optimizer", {}).get("lr", rate) * row["multiple"]
    idea = over(changes, {"training": {"optimizer": {"lr": rate}}})
    own = next(run for run in study_ladder(session.experiment).of("ideas") if _is(run, row["idea"], row["width"]))
    speed = relative_speed(session, own.role, usual[0][0].role)
    sizes = [size.model_copy(update={"rates": ()}) for size in study.sizes if size.width == row["width"]]
    batch = usual[0][0].batch
    tokens = batch * round(speed * usual[0][0].tokens / batch)
    fields = {"sizes": tuple(sizes), "tokens": (tokens,), "tokens_per_parameter": (), "ideas": {row["idea"]: idea}}
    changed = study.model_copy(update={**fields, "gate": None})
    experiment = session.experiment.model_copy(update={"study": changed})
    timed = replace(session, experiment=experiment, graph=experiment_graph(experiment))
    tried = study_ladder(experiment).of("ideas")
    show.run(Console(), timed, {run.role for run in tried})
    return row, finished(timed, tried), usual


def _is(run: StudyRun, idea: str, width: int) -> bool:
    return (run.idea, run.width) == (idea, width)


def combination_table(found: Sequence[tuple[dict[str, Any], list[Loss], list[Loss]]]) -> list[str]:
    """Markdown lines: for each size, held-out bits per byte of both, mean and standard deviation over seeds."""
    lines = [
        "| width | tokens | bits per byte | launched recipe: tokens | bits per byte | difference | by the law |",
        "|---|---|---|---|---|---|---|",
    ]
    for row, ours, theirs in found:
        mine, other = ([loss for _, loss in runs] for runs in (ours, theirs))
        log = math.log(statistics.fmean(mine) / statistics.fmean(other))
        cells = [
            *(str(row["width"]), f"{ours[0][0].tokens:,}", spread(mine), f"{theirs[0][0].tokens:,}", spread(other)),
            *(signed(log), signed(row["at_equal_time"])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    mean = f"{statistics.fmean(values):.4f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.4f}"


if __name__ == "__main__":
    main()
