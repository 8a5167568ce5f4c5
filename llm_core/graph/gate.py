"""Checks judge an artifact's statistics; a failed blocking one is a closed gate."""

from typing import Any

from llm_core.graph.stage import Check, Stage
from llm_core.registry import load_object


def evaluate(stage: Stage, stats: dict[str, Any]) -> list[Check]:
    """The checks of ``stage`` on these statistics, by the bounds that the experiment sets now.

    They are evaluated anew at every use: who widens a bound after a look at the data opens the gate without making
    anything again, and who narrows one closes it.
    """
    checks: list[Check] = load_object(stage.checks)(stats, stage.bounds) if stage.checks else []
    names = {check.name for check in checks}
    if names != {*stage.gates, *stage.advice}:
        raise ValueError(
            f"stage {stage.name} declares the checks {stage.gates + stage.advice}, and gets {sorted(names)}"
        )
    return checks


def closed(stage: Stage, stats: dict[str, Any]) -> list[Check]:
    """The gates that failed."""
    return [check for check in evaluate(stage, stats) if check.name in stage.gates and not check.passed]
