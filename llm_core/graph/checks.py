"""Checks judge an artifact's results. Stages after it wait until the blocking checks pass."""

from llm_core.graph.results import Results
from llm_core.graph.stage import Check, Stage
from llm_core.registry import load_object
from llm_core.store.manifest import Artifact


def evaluate(stage: Stage, artifact: Artifact) -> list[Check]:
    """The checks of ``stage`` on its artifact, with the current bounds of the experiment.

    They are evaluated at every use: a wider bound lets later stages start without a rebuild, and a narrower one
    stops them.
    """
    return evaluate_results(stage, artifact.results(load_object(stage.results)))


def evaluate_results(stage: Stage, results: Results) -> list[Check]:
    """The checks of ``stage`` on these results."""
    return [
        Check(**vars(load_object(target)(results, stage.bounds)), name=name, blocking=target in stage.blocking)
        for name, target in zip(stage.checks, (*stage.blocking, *stage.non_blocking), strict=True)
    ]


def failed_blocking(stage: Stage, artifact: Artifact) -> list[Check]:
    """The blocking checks that fail."""
    return [check for check in evaluate(stage, artifact) if check.blocking and not check.passed]
