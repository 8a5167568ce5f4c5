"""The graph of all stages of an experiment."""

from assets import (
    data,
    evaluation,
    models,
    optimizations,
    release,
    retrieval,
    study,
    test_time,
    tokens,
    training,
    tuning,
)
from llm_core.experiment.experiment import Experiment
from llm_core.graph.graph import Graph


def experiment_graph(experiment: Experiment) -> Graph:
    """From raw documents to the training report."""
    modules = (data, tokens, study, training, evaluation, tuning, retrieval, test_time, optimizations, release)
    stages = [stage for module in modules for stage in module.stages(experiment)]
    return Graph(experiment.name, [*stages, *study.score(experiment), *models.stages(experiment, stages)])
