"""The checks of ``generation_samples``. In their own module, so that a plan evaluates them without importing torch."""

from llm_core.evals.results import GenerationSamples
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.stage import Verdict


def all_generated(results: GenerationSamples, bounds: ChecksSpec) -> Verdict:
    """Every prompt was continued at every temperature."""
    del bounds
    samples, expected = results.samples, results.expected
    message = f"{samples} generations for {expected} pairs of prompt and temperature"
    return Verdict(samples == expected, message, value=samples, bound=expected)


def some_text(results: GenerationSamples, bounds: ChecksSpec) -> Verdict:
    """The model wrote something."""
    del bounds
    tokens = results.tokens
    message = f"{tokens} tokens generated" if tokens else "every generation ended before its first token"
    return Verdict(tokens > 0, message, value=tokens, bound=1)


def none_empty(results: GenerationSamples, bounds: ChecksSpec) -> Verdict:
    """No generation is empty."""
    del bounds
    return Verdict(results.empty == 0, f"{results.empty} generations are empty", value=results.empty, bound=0)
