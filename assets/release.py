"""What people read."""

from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage

TOLD = (
    "raw_documents",
    "clean_documents",
    "unique_documents",
    "pretraining_documents",
    "tokenizer",
    "token_shards",
    "pretrained_model",
    "eval_results",
    "generation_samples",
)
"""The stages that every report tells of."""


def stages(experiment: Experiment) -> list[Stage]:
    """The training report."""
    told = [*TOLD, "ablation_report"] if experiment.proxies else list(TOLD)
    return [
        Stage(
            name="training_report",
            group="release",
            description="One self-contained HTML page: data, curves, ablations, evals, samples, lineage, cost.",
            build="llm_core.report.training:build",
            checks="llm_core.report.training:checks",
            gates=("page_written",),
            code=("llm_core/report/*.css", "llm_core/report/*.html"),
            inputs={name: name for name in told},
            config={"title": experiment.name, "price_per_gpu_hour": experiment.compute.price_per_gpu_hour},
            bounds=experiment.checks,
            volatile=("*.html", "*.png"),
        )
    ]
