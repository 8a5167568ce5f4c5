"""Checks judge an artifact's statistics; what depends on the artifact waits until the blocking ones pass."""

from typing import Any

from llm_core.graph.stage import Check, Stage
from llm_core.registry import load_object


def evaluate(stage: Stage, stats: dict[str, Any]) -> list[Check]:
    """The checks of ``stage`` on these statistics, by the bounds that the experiment sets now.

    They are evaluated again at every use: a wider bound opens the gate without making anything again, and a narrower
    one closes it.
    """
    return [
        Check(**vars(load_object(target)(stats, stage.bounds)), name=name, blocking=target in stage.blocking)
        for name, target in zip(stage.checks, (*stage.blocking, *stage.non_blocking), strict=True)
    ]


def failed(stage: Stage, stats: dict[str, Any]) -> list[Check]:
    """The blocking checks that fail."""
    return [check for check in evaluate(stage, stats) if check.blocking and not check.passed]
