"""Raw text to the documents that a model is trained on and judged by."""

from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage


def stages(experiment: Experiment) -> list[Stage]:
    """Reading, cleaning, judging by a classifier if one is asked for, deduplication, and the held-out split."""
    judging = _judging(experiment)
    return [
        Stage(
            name="raw_documents",
            group="data",
            description="Documents as their sources hold them; bad records are set aside with their position.",
            build="llm_core.data.raw:build",
            results="llm_core.data.results:RawDocuments",
            parts=":parts",
            blocking=(":not_empty",),
            non_blocking=(":bad_records", ":files_left_out", ":empty_files"),
            externals=":externals",
            look_up=":look_up",
            config={"raw": experiment.raw},
            bounds=experiment.checks,
            # No digest covers files that are not read: what they were may not count in what follows.
        ),
        Stage(
            name="clean_documents",
            group="data",
            description="Normalised text that passes the quality rules; every drop is kept with its rule and value.",
            build="llm_core.data.clean:build",
            results="llm_core.data.results:CleanDocuments",
            parts=":parts",
            blocking=("llm_core.data.checks:not_empty", ":drop_share"),
            non_blocking=(":drops_by_rule", ":encoding", ":unspaced", ":languages", ":empty_parts"),
            externals=":externals",
            inputs={"documents": "raw_documents"},
            config={"cleaning": experiment.cleaning},
            bounds=experiment.checks,
        ),
        *judging,
        Stage(
            name="unique_documents",
            group="data",
            description="Each text once: of equal and nearly equal documents one stays; all clusters are written out.",
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
            description="Without the documents that hold an item of an eval suite; a report for every suite.",
            build="llm_core.data.decontaminate:build",
            results="llm_core.data.results:DecontaminatedDocuments",
            parts=":parts",
            blocking=("llm_core.data.checks:not_empty",),
            non_blocking=(":contaminated_share", ":eval_items_too_short", ":eval_encoding"),
            externals=":externals",
            inputs={"documents": "unique_documents"},
            config={"decontamination": experiment.decontamination, "suites": experiment.evaluation.suites},
            bounds=experiment.checks,
        ),
        Stage(
            name="pretraining_documents",
            group="data",
            description="The training split, and the held-out split that no model sees.",
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
            # What the evaluation needs is judged here, and changes nothing for the stages between.
        ),
    ]


def _judging(experiment: Experiment) -> list[Stage]:
    """The classifier and its verdicts; none where the experiment has no section ``quality``."""
    quality = experiment.quality
    if quality is None:
        return []
    return [
        Stage(
            name="quality_classifier",
            group="data",
            description="A linear classifier that learns good texts from examples, and the score to keep documents by.",
            build="llm_core.data.quality.classifier:build",
            results="llm_core.data.results:QualityClassifier",
            blocking=(":examples",),
            non_blocking=(":auc",),
            externals=":externals",
            look_up=":look_up",
            inputs={"documents": "clean_documents"} if quality.samples_documents else {},
            config={"quality": quality, "cleaning": experiment.cleaning},
            bounds=experiment.checks,
        ),
        Stage(
            name="judged_documents",
            group="data",
            description="The documents whose quality score reaches the bound; every drop is kept with its score.",
            build="llm_core.data.quality.judged:build",
            results="llm_core.data.results:JudgedDocuments",
            parts=":parts",
            blocking=("llm_core.data.checks:not_empty",),
            non_blocking=(":kept_share",),
            inputs={"documents": "clean_documents", "classifier": "quality_classifier"},
            bounds=experiment.checks,
        ),
    ]
