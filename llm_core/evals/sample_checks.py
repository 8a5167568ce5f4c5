"""The checks of ``generation_samples``, apart from what generates: every plan asks them, and needs no torch for it."""

from typing import Any

from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.stage import Check


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:  # noqa: ARG001 (no bound is about samples)
    """Every prompt was continued at every temperature, and with more than nothing."""
    samples, expected, empty = stats["samples"], stats["expected"], stats["empty"]
    return [
        Check(
            "all_generated",
            samples == expected,
            f"{samples} generations for {expected} pairs of prompt and temperature",
            value=samples,
            bound=expected,
        ),
        Check(
            "some_text",
            stats["tokens"] > 0,
            f"{stats['tokens']} tokens generated"
            if stats["tokens"]
            else "every generation ended before its first token",
            value=stats["tokens"],
            bound=1,
        ),
        Check("none_empty", empty == 0, f"{empty} generations are empty", value=empty, bound=0),
    ]
