"""What holds for every judge of answers."""

import math

from llm_core.contracts.example import Check, Example


def is_documented(example: Example) -> None:
    """By its docstring."""
    example.hold(example.loaded.__doc__, "has no docstring: write by what it judges")


def has_a_score_for_every_answer(example: Example) -> None:
    """A finite number, also for an empty answer, and the same each time."""
    for answer, nats in (("", [-3.0]), ("x" * 100_000, [-1.0] * 100_000), ("<b>\n", [-1e4])):
        try:
            scores = {example.loaded("What?", answer, nats) for _ in range(2)}
        except Exception as error:
            example.hold(False, f"gives no score for the answer {answer[:20]!r}: {error}")
            raise
        example.hold(all(map(math.isfinite, scores)), f"its score is not finite for the answer {answer[:20]!r}")
        example.hold(len(scores) == 1, "gives one answer two scores")


CHECKS: tuple[Check, ...] = (is_documented, has_a_score_for_every_answer)
