"""The checks of ``generation_samples``, apart from what generates: every plan asks them, and needs no torch for it."""

from collections.abc import Mapping
from typing import Any

from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.stage import Verdict


def all_generated(stats: Mapping[str, Any], bounds: ChecksSpec) -> Verdict:
    """Every prompt was continued at every temperature."""
    del bounds
    samples, expected = stats["samples"], stats["expected"]
    message = f"{samples} generations for {expected} pairs of prompt and temperature"
    return Verdict(samples == expected, message, value=samples, bound=expected)


def some_text(stats: Mapping[str, Any], bounds: ChecksSpec) -> Verdict:
    """The model wrote something."""
    del bounds
    tokens = stats["tokens"]
    message = f"{tokens} tokens generated" if tokens else "every generation ended before its first token"
    return Verdict(tokens > 0, message, value=tokens, bound=1)


def none_empty(stats: Mapping[str, Any], bounds: ChecksSpec) -> Verdict:
    """No generation is empty."""
    del bounds
    return Verdict(stats["empty"] == 0, f"{stats['empty']} generations are empty", value=stats["empty"], bound=0)
