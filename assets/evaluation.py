"""The stages that evaluate the trained model."""

from collections.abc import Mapping
from typing import Any

from assets.training import TRAIN_PACKAGES
from llm_core.experiment.experiment import IMPORTED, Experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.stage import Stage


def stages(experiment: Experiment) -> list[Stage]:
    """Scores on held-out text, and generations."""
    return [
        evaluation(
            "eval_results",
            "evaluation",
            "lm-eval on held-out documents, beside a unigram token model and xz, and on suites from files.",
            experiment,
            experiment.base_model(),
            experiment.model,
            experiment.base_training(),
        ),
        Stage(
            name="generation_samples",
            group="evaluation",
            description="Texts that the model generates at several temperatures.",
            build="llm_core.evals.samples:build",
            results="llm_core.evals.results:GenerationSamples",
            blocking=("llm_core.evals.sample_checks:all_generated", "llm_core.evals.sample_checks:some_text"),
            non_blocking=("llm_core.evals.sample_checks:none_empty",),
            inputs={"model": experiment.base_model(), "tokenizer": "tokenizer"},
            config={"sampling": experiment.sampling, "model": experiment.model, "seed": experiment.seed},
            packages=TRAIN_PACKAGES,
            bounds=experiment.checks,
        ),
        *_of_start(experiment),
    ]


def _of_start(experiment: Experiment) -> list[Stage]:
    """The scores of the start, and what the full run changed in them; empty where the start is the base model, and is
    evaluated as such."""
    if experiment.start is None or experiment.training is None:
        return []
    return [
        evaluation(
            "imported_eval_results",
            "evaluation",
            "The same scores for the model that the full run starts from.",
            experiment,
            IMPORTED,
            experiment.model,
            experiment.base_training(),
        ),
        comparison(
            experiment,
            "start_comparison",
            "evaluation",
            "Every score after the full run beside that of the model that it starts from, in pairs of items.",
            {"eval_results": "imported_eval_results", experiment.base_model(): "eval_results"},
        ),
    ]


def comparison(experiment: Experiment, name: str, group: str, description: str, scores: dict[str, str]) -> Stage:
    """A stage that compares scores with those of the role ``eval_results``. ``scores``: role → stage."""
    return Stage(
        name=name,
        kind="tuning_comparison",
        group=group,
        description=description,
        build="llm_core.science.tuning_comparison:build",
        results=":TuningComparison",
        non_blocking=(":little_forgotten",),
        inputs=scores,
        bounds=experiment.checks,
    )


def evaluation(
    name: str,
    group: str,
    description: str,
    experiment: Experiment,
    run: str,
    model: ModelSpec,
    training: TrainingSpec,
    *,
    compute: Mapping[str, Any] | None = None,
) -> Stage:
    """A stage that scores the ``model`` of the stage ``run`` on the same items as every other one.

    ``compute``: overrides of the experiment's ``compute`` for this evaluation.
    """
    return Stage(
        name=name,
        kind="eval_results",
        group=group,
        description=description,
        build="llm_core.evals.evaluation:build",
        results="llm_core.evals.results:EvalResults",
        source_digests=":source_digests",
        non_blocking=(":below_unigram", ":above_chance", ":text_restored", ":suites_readable", ":enough_items"),
        code=("llm_core.evals.run:main",),
        inputs={
            "model": run,
            "tokenizer": "tokenizer",
            "documents": "pretraining_documents",
            "shards": "token_shards",
        },
        config={
            "evaluation": experiment.evaluation,
            "model": model,
            "sequence_length": training.sequence_length,
            "precision": training.precision,
            "seed": experiment.seed,
        },
        bounds=experiment.checks,
        volatile=("lm_eval.json",),
        packages={**TRAIN_PACKAGES, "lm_eval": "eval"},
        compute=compute or {},
    )
