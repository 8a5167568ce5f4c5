"""The stage ``training_report``: one page about how a model was trained and how good it is."""

import json
from collections.abc import Mapping
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.graph.job import Job
from llm_core.report import collect, figures, read
from llm_core.report.ablation import ablation_pictures
from llm_core.report.formatting import short
from llm_core.report.made import write_made
from llm_core.report.page import render
from llm_core.report.results import TrainingReport
from llm_core.report.style import Picture
from llm_core.train.metrics_log import METRICS, read_metrics

PAGE = "report.html"
CURVES = (figures.loss, figures.learning_rate, figures.gradient_norm, figures.throughput)
SECTIONS = (
    ("results", "Results"),
    ("data", "Data"),
    ("tokenizer", "Tokenizer"),
    ("training", "Training"),
    ("ablations", "Ablations"),
    ("evals", "Evaluation"),
    ("samples", "Samples"),
    ("lineage", "Lineage"),
    ("checks", "Checks"),
)


def build(job: Job, title: str, price_per_gpu_hour: float) -> TrainingReport:
    """Write ``report.html`` (one self-contained file), ``figures/*.png`` and ``summary.json``.

    They depend only on the contents of the inputs. Clock times, hosts, versions and prices are in ``made.html`` and
    ``timing/*.png``. The input ``ablation_report`` is optional.
    """
    headline = collect.headline(job.inputs, price_per_gpu_hour)
    ablation = collect.ablation(job.inputs)
    pictures = _pictures(job, headline, ablation)
    if ablation:
        compared = [picture for name, picture in pictures.items() if name.startswith(("ablation_", "learning_rates"))]
        ablation["pictures"] = [picture.name for picture in compared if not picture.clock]
        ablation["clocks"] = [picture.name for picture in compared if picture.clock]
    (job.out / PAGE).write_text(_page(job, title, headline, ablation, pictures), encoding="utf-8")
    clocks = {
        "tiles": collect.clock_tiles(headline, job.inputs),
        "cost": collect.cost(job.inputs, headline, price_per_gpu_hour),
        "machine": collect.machine(job.inputs),
        "ablation": ablation,
    }
    write_made(job, "training report", title, pictures, clocks)
    summary = {
        "title": title,
        **{name: value for name, value in headline.items() if name not in TrainingReport.volatile()},
    }
    (job.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    saved = {name: picture.save(job.out) for name, picture in pictures.items()}
    return TrainingReport(**headline, page_bytes=(job.out / PAGE).stat().st_size, figures=saved)


def _pictures(job: Job, headline: Mapping[str, Any], ablation: dict[str, Any] | None) -> dict[str, Picture]:
    steps = _steps(job)
    drops = collect.drop_rows(job.inputs)
    pictures = [
        figures.bits_per_byte(
            [
                ("this model", headline["bits_per_byte"], headline["bits_per_byte_stderr"]),
                ("unigram tokens", headline["unigram_bits_per_byte"], None),
                ("xz", headline["xz_bits_per_byte"], None),
            ]
        ),
        figures.funnel(collect.funnel_rows(job.inputs)),
        *([figures.drops(drops, read.raw(job.inputs).documents)] if drops else []),
        *([draw(steps) for draw in CURVES] if steps else []),
        *(ablation_pictures(ablation["results"], ablation["timing"]) if ablation else []),
        figures.accuracy(
            [
                ("this model", headline["accuracy"], headline["accuracy_stderr"]),
                ("shared letters", headline["overlap_accuracy"], headline["overlap_accuracy_stderr"]),
            ],
            headline["chance"],
        ),
        figures.times(collect.stage_seconds(job.inputs)),
    ]
    return {picture.name: picture for picture in pictures}


def _steps(job: Job) -> list[dict[str, Any]]:
    """The lines of the full run's metrics. Empty when they are damaged; the page then says so."""
    if _without_curves(job):
        return []
    path = job.path("pretrained_model", METRICS)
    steps = read_metrics(path)
    if not steps:
        raise PedigreeError(f"{path}: contains no step; make pretrained_model again")
    return steps


def _without_curves(job: Job) -> str | None:
    """The reason why the page has no curves; None when it has them."""
    problem = job.damaged_files.get("pretrained_model", {}).get(METRICS)
    return problem and f"There are no curves: {METRICS} was found damaged, and nothing of it is shown."


def _page(
    job: Job,
    title: str,
    headline: Mapping[str, Any],
    ablation: dict[str, Any] | None,
    pictures: Mapping[str, Picture],
) -> str:
    inputs = job.inputs
    checks_ = collect.check_rows(inputs)
    return render(
        "training.html",
        kind="training report",
        title=title,
        lead=(
            f"A language model of {short(headline['parameters'])} parameters, trained on {short(headline['tokens'])} "
            f"tokens."
        ),
        sections=[item for item in SECTIONS if ablation or item[0] != "ablations"],
        tiles=collect.tiles(headline),
        pictures=pictures,
        data=collect.data(inputs),
        tokenizer=collect.tokenizer(inputs),
        training=collect.training(inputs),
        without_curves=_without_curves(job),
        continued=collect.continued(inputs),
        model=collect.model(inputs),
        ablation=ablation,
        evals=collect.evals(inputs),
        samples=collect.samples(inputs),
        lineage=collect.lineage(inputs),
        checks=checks_,
        failed=sum(not check["passed"] for check in checks_),
    )
