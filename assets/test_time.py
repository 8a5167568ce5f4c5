"""Test-time compute: what many answers to one question bring."""

from assets.retrieval import PACKAGES
from assets.training import TRAIN_PACKAGES
from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage


def stages(experiment: Experiment) -> list[Stage]:
    """``test_time_compute``; empty without that section."""
    spec, retrieval, evaluation = experiment.test_time_compute, experiment.retrieval, experiment.evaluation
    if spec is None:
        return []
    return [
        Stage(
            name="test_time_compute",
            group="evaluation",
            description="Accuracy of the answer that is chosen from k samples, over k and over tokens.",
            build="llm_core.test_time.evaluation:build",
            results="llm_core.test_time.results:RepeatedSampling",
            source_digests=":source_digests",
            non_blocking=(":most_answered",),
            inputs={
                "model": experiment.base_model(),
                "tokenizer": "tokenizer",
                "documents": "pretraining_documents",
                **({"index": "retrieval_index"} if retrieval else {}),
            },
            config={
                "spec": spec,
                "suites": tuple(suite for suite in evaluation.suites if suite.name in spec.suites),
                "few_shot": {name: count for name, count in evaluation.few_shot.items() if name in spec.suites},
                "sequence_length": experiment.base_training().sequence_length,
                "passages": retrieval.passages if retrieval else 0,
                "seed": experiment.seed,
            },
            packages={**TRAIN_PACKAGES, **(PACKAGES if retrieval else {})},
        )
    ]
