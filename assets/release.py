"""The final stages: reports for people, and the model for other programs."""

from assets import study, training, tuning
from assets.export import gguf_exports, hf_export, onnx_exports
from llm_core.experiment.experiment import IMPORTED, Experiment
from llm_core.experiment.reports import check_sections
from llm_core.graph.stage import Stage

DATA = (
    "raw_documents",
    "clean_documents",
    "unique_documents",
    "decontaminated_documents",
    "pretraining_documents",
    "tokenizer",
    "token_shards",
)
"""The stages in every data report."""

STUDY = (
    *("noise_law", "rate_law", "batch_law", "scaling_law", "ablation_report", "mixture_law"),
    *("suite_signal", "forecast", "suite_forecast", "study_cost"),
)
"""The stages of a study in the training report, as far as the experiment has them. Not the launch gate: a closed one
would block the report of a run that was launched all the same. The manifest of the run keeps it."""

EVALUATED = ("eval_results", "generation_samples")
"""The additional stages in every training report, after the base model."""

PAGE_FILES = ("llm_core/report/page.css", "llm_core/report/page.html")
"""The style sheet and the template of all pages."""

PAGES = {
    "data_report": "data_report.html",
    "study_report": "study.html",
    "training_report": "report.html",
    "optimization_table": "optimizations.html",
    "model_comparison": "models.html",
}
"""Stage → the page that it makes."""


def stages(experiment: Experiment) -> list[Stage]:
    """The reports, and the exported model."""
    went_on = [
        stage.name
        for stage in training.stages(experiment)
        if "start" in stage.inputs and stage.name != experiment.base_model()
    ]
    started = [IMPORTED] if experiment.start and experiment.training else []
    compared = ["start_comparison"] if started else []
    tuned = tuning.told(experiment)
    judged = ["quality_classifier", "judged_documents"] if experiment.quality else []
    documents = [*DATA[:2], *judged, *DATA[2:]]
    studied = {stage.name for stage in study.stages(experiment)}
    judging = [name for name in STUDY if name in studied]
    retrieved = ["retrieval_eval"] if experiment.retrieval else []
    sampled = ["test_time_compute"] if experiment.test_time_compute else []
    exported = [
        *gguf_exports(experiment, "gguf_export", "release", experiment.base_model()),
        *onnx_exports(experiment, "onnx_export", "release", experiment.base_model()),
    ]
    told = [*documents, *judging, *started, experiment.base_model(), *EVALUATED]
    told += [*compared, *retrieved, *sampled, *went_on, *tuned, *(stage.name for stage in exported)]
    reports = experiment.reports
    check_sections(f"{experiment.name}: reports.data", reports.data, documents)
    check_sections(f"{experiment.name}: reports.training", reports.training, told)
    return [
        *([_study_report(experiment, judging)] if judging else []),
        Stage(
            name="data_report",
            group="release",
            description="One self-contained HTML page: the funnel by rule and source, samples, duplicates, tokens.",
            build="llm_core.report.data_report:build",
            results="llm_core.report.results:DataReport",
            blocking=(":all_accounted_for", "llm_core.report.checks:page_written"),
            code=PAGE_FILES,
            rebuild_when_damaged=True,
            inputs={name: name for name in documents},
            config={
                "title": experiment.name,
                "cleaning": experiment.cleaning,
                "sections": reports.data,
            },
            bounds=experiment.checks,
            volatile=("made.html", "timing/*"),
        ),
        hf_export(experiment, "hf_export", "release", experiment.base_model()),
        *exported,
        Stage(
            name="training_report",
            group="release",
            description="One self-contained HTML page: forecast, data, curves, study, evals, samples, lineage, cost.",
            build="llm_core.report.training_report:build",
            results="llm_core.report.results:TrainingReport",
            blocking=("llm_core.report.checks:page_written",),
            code=PAGE_FILES,
            rebuild_when_damaged=True,
            inputs={name: name for name in told},
            config={
                "title": experiment.name,
                "price_per_gpu_hour": experiment.compute.price_per_gpu_hour,
                "sections": reports.training,
            },
            bounds=experiment.checks,
            volatile=("made.html", "timing/*"),
        ),
    ]


def _study_report(experiment: Experiment, stages: list[str]) -> Stage:
    """It needs no full run: it is read before that is paid for. A small study may have nothing to draw."""
    return Stage(
        name="study_report",
        group="study",
        description="One HTML page for the decision to launch: forecast, law, rates, batch, ideas, mixtures, noise.",
        build="llm_core.report.study_report:build",
        results="llm_core.report.results:Page",
        non_blocking=("llm_core.report.checks:page_written",),
        code=PAGE_FILES,
        rebuild_when_damaged=True,
        inputs={name: name for name in stages},
        config={"title": experiment.name},
        volatile=("made.html", "timing/*"),
    )
