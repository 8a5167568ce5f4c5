"""The results of test-time compute."""

from typing import Any

from llm_core.graph.results import Results

PLAIN, REASONING, RETRIEVED = "plain", "reasoning", "retrieved"
"""The ways of asking."""
MAJORITY, ANY = "majority", "any"
"""The methods of choosing, besides the judges."""


class RepeatedSampling(Results):
    """Accuracy over the number of answers. Intervals are 95% intervals over questions, or over their clusters."""

    samples: int
    """Answers to each question, besides the greedy one."""
    temperature: float
    questions: dict[str, int]
    """Task → questions."""
    left_out: dict[str, int]
    """Task → questions without a word as their answer, or whose prompt does not fit into the model's context."""
    with_answer: float
    """Share of all samples in which there is an answer."""
    ways: list[dict[str, Any]]
    """For every ``task`` and ``way`` of asking (``plain``, ``reasoning``, ``retrieved``): ``prompt_tokens``,
    ``greedy_tokens`` and ``sample_tokens`` (means per question, and per sample); ``greedy``: the accuracy of the greedy
    answer, and its ``gain`` over the plain one; ``curves``: method → for some k the accuracy, and the ``gain`` over the
    greedy answer of the same way, question by question. Each with its interval."""
