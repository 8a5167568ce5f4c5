"""The stages from raw text to the training and held-out documents."""

from llm_core.experiment.experiment import Experiment
from llm_core.experiment.sources import RawSpec
from llm_core.graph.stage import Stage


def stages(experiment: Experiment) -> list[Stage]:
    """Reading, cleaning, the optional quality classifier, deduplication, decontamination, and the held-out split."""
    judging = _judging(experiment)
    return [
        reading(
            experiment,
            "raw_documents",
            "data",
            "Documents as they are in their sources; bad records are stored with their position.",
            experiment.raw,
        ),
        Stage(
            name="clean_documents",
            group="data",
            description="Normalised text that passes the rules; every drop is recorded with its rule and value.",
            build="llm_core.data.clean:build",
            results="llm_core.data.results:CleanDocuments",
            parts=":parts",
            blocking=("llm_core.data.checks:not_empty", ":drop_share"),
            non_blocking=(":drops_by_rule", ":encoding", ":unspaced", ":languages", ":empty_parts"),
            source_digests=":source_digests",
            inputs={"documents": "raw_documents"},
            config={"cleaning": experiment.cleaning},
            bounds=experiment.checks,
        ),
        *judging,
        Stage(
            name="unique_documents",
            group="data",
            description="One document of each group of equal and nearly equal ones; all clusters are recorded.",
            build="llm_core.data.unique:build",
            results="llm_core.data.results:UniqueDocuments",
            parts=":parts",
            blocking=("llm_core.data.checks:not_empty", ":duplicate_share", "llm_core.data.checks:doc_ids_differ"),
            non_blocking=(":largest_cluster",),
            inputs={"documents": judging[-1].name if judging else "clean_documents"},
            config={"dedup": experiment.dedup},
            bounds=experiment.checks,
        ),
        Stage(
            name="decontaminated_documents",
            group="data",
            description="The documents without those that contain an item of an eval suite; a report for every suite.",
            build="llm_core.data.decontaminate:build",
            results="llm_core.data.results:DecontaminatedDocuments",
            parts=":parts",
            blocking=("llm_core.data.checks:not_empty",),
            non_blocking=(":contaminated_share", ":eval_items_too_short", ":eval_encoding"),
            source_digests=":source_digests",
            inputs={"documents": "unique_documents"},
            config={"decontamination": experiment.decontamination, "suites": experiment.evaluation.suites},
            bounds=experiment.checks,
        ),
        Stage(
            name="pretraining_documents",
            group="data",
            description="The training split, and the held-out split, which is never trained on.",
            build="llm_core.data.split:build",
            results="llm_core.data.results:PretrainingDocuments",
            parts=":parts",
            blocking=(":not_empty", ":no_overlap", "llm_core.data.checks:doc_ids_differ", ":heldout_usable"),
            inputs={"documents": "decontaminated_documents"},
            config={
                "split": experiment.split,
                "minhash": experiment.dedup.minhash,
                "evaluation": experiment.evaluation,
            },
            bounds=experiment.checks,
            # The needs of the evaluation are checked here, and do not affect the stages in between.
        ),
    ]


def reading(experiment: Experiment, name: str, group: str, description: str, raw: RawSpec) -> Stage:
    """A stage that reads the documents of the sources of ``raw``."""
    return Stage(
        name=name,
        kind="raw_documents",
        group=group,
        description=description,
        build="llm_core.data.raw:build",
        results="llm_core.data.results:RawDocuments",
        parts=":parts",
        blocking=(":not_empty",),
        non_blocking=(":bad_records", ":unread_files", ":empty_files"),
        source_digests=":source_digests",
        look_up=":look_up",
        config={"raw": raw},
        bounds=experiment.checks,
        # No digest covers files that are not read, so they must not affect later stages.
    )


def _judging(experiment: Experiment) -> list[Stage]:
    """The classifier and its verdicts; empty for an experiment without the section ``quality``."""
    quality = experiment.quality
    if quality is None:
        return []
    return [
        Stage(
            name="quality_classifier",
            group="data",
            description="A linear classifier trained on labelled examples, and the minimum score of documents to keep.",
            build="llm_core.data.quality.classifier:build",
            results="llm_core.data.results:QualityClassifier",
            blocking=(":examples",),
            non_blocking=(":auc",),
            source_digests=":source_digests",
            look_up=":look_up",
            inputs={"documents": "clean_documents"} if quality.samples_documents else {},
            config={"quality": quality, "cleaning": experiment.cleaning},
            bounds=experiment.checks,
        ),
        Stage(
            name="judged_documents",
            group="data",
            description="The documents whose quality score reaches the bound; every drop is recorded with its score.",
            build="llm_core.data.quality.judged:build",
            results="llm_core.data.results:JudgedDocuments",
            parts=":parts",
            blocking=("llm_core.data.checks:not_empty",),
            non_blocking=(":kept_share",),
            inputs={"documents": "clean_documents", "classifier": "quality_classifier"},
            bounds=experiment.checks,
        ),
    ]
