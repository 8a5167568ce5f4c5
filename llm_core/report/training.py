"""The stage ``training_report``: one page that tells how a model came about and what it is worth."""

import json
from collections.abc import Mapping
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check
from llm_core.report import collect, figures
from llm_core.report.ablation import ablation_pictures
from llm_core.report.page import render
from llm_core.report.style import Picture
from llm_core.report.units import moment, short
from llm_core.train.metrics import METRICS, read_metrics

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
    ("cost", "Time and cost"),
    ("versions", "Versions"),
)


def build(job: Job, title: str, price_per_gpu_hour: float) -> dict[str, Any]:
    """Write ``report.html`` (one file that loads nothing), ``figures/*.png`` and ``summary.json``.

    The input ``ablation_report`` may be missing. Clock times, hosts and prices stand on the page and in the figures;
    ``summary.json`` holds only what follows from the contents of the inputs.
    """
    headline = collect.headline(job.inputs, price_per_gpu_hour)
    ablation = collect.ablation(job.inputs)
    pictures = _pictures(job, headline, ablation)
    (job.out / PAGE).write_text(_page(job, title, price_per_gpu_hour, headline, ablation, pictures), encoding="utf-8")
    volatile = ("seconds_training", "seconds_total", "gpu_hours", "cost_dollars", "final_validation_loss")
    summary = {"title": title, **{name: value for name, value in headline.items() if name not in volatile}}
    (job.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    saved = {name: f"figures/{picture.save(job.out / 'figures')}" for name, picture in pictures.items()}
    return {**headline, "page_bytes": (job.out / PAGE).stat().st_size, "figures": saved}


def checks(stats: Mapping[str, Any], bounds: ChecksSpec) -> list[Check]:  # noqa: ARG001 (no bound is about the report)
    """The page has its figures."""
    count = len(stats["figures"])
    return [Check("page_written", count > 0, f"{stats['page_bytes']} bytes, {count} figures", value=count)]


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
        *([figures.drops(drops, job.inputs["raw_documents"].stats["documents"])] if drops else []),
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
    """The lines of the full run's metrics; none where they are damaged, and the page says so."""
    if _without_curves(job):
        return []
    path = job.path("pretrained_model", METRICS)
    steps = read_metrics(path)
    if not steps:
        raise PedigreeError(f"{path}: holds no step; make pretrained_model again")
    return steps


def _without_curves(job: Job) -> str | None:
    """Why the page has no curves."""
    problem = job.left_out.get("pretrained_model", {}).get(METRICS)
    return problem and f"There are no curves: {METRICS} was found damaged, and nothing of it is shown."


def _page(
    job: Job,
    title: str,
    price_per_gpu_hour: float,
    headline: Mapping[str, Any],
    ablation: dict[str, Any] | None,
    pictures: Mapping[str, Picture],
) -> str:
    inputs = job.inputs
    run = inputs["pretrained_model"]
    checks_ = collect.check_rows(inputs)
    compared = ("ablation_", "learning_rates")
    if ablation:
        ablation = {**ablation, "pictures": [name for name in pictures if name.startswith(compared)]}
    return render(
        "training.html",
        kind="training report",
        title=title,
        lead=(
            f"A language model of {short(headline['parameters'])} parameters, trained on {short(headline['tokens'])} "
            f"tokens. {collect.device(inputs)}, {moment(run.manifest.started)}."
        ),
        sections=[item for item in SECTIONS if ablation or item[0] != "ablations"],
        tiles=collect.tiles(headline, inputs),
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
        cost=collect.cost(inputs, headline, price_per_gpu_hour),
        versions=collect.versions(inputs),
    )
