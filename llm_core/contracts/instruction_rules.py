"""What holds for every rule of instructions."""

from typing import Any

from llm_core.contracts.example import Check, Example
from llm_core.data.suites import Rule
from llm_core.evals.instructions import bound, named_arguments

HOSTILE = ("x", "x" * 100_000, "<b>\n", "\u0301\u0300", "\0", "([*")
"""Answers that break what counts."""


def is_documented(example: Example) -> None:
    """By its docstring."""
    example.hold(example.loaded.__doc__, "has no docstring: write what an answer must be")


def judges_every_answer(example: Example) -> None:
    """True or False, and the same each time."""
    needed = {name: example_of(kind) for name, kind in named_arguments(example.loaded).items()}
    arguments = {**needed, **example.settings}
    try:
        rule = bound(Rule(example.kind, arguments))
    except ValueError as error:
        example.hold(False, f"does not take its example arguments {arguments}: {error}; give others in examples")
        raise
    for answer in HOSTILE:
        try:
            verdicts = {rule(answer) for _ in range(2)}
        except Exception as error:
            example.hold(False, f"fails on the answer {answer[:20]!r}: {error}")
            raise
        example.hold(len(verdicts) == 1, "gives one answer two verdicts")


def example_of(kind: Any) -> Any:
    """A value of an argument of this type."""
    return {int: 4, str: "x", float: 0.5, bool: True}.get(kind, 4)


CHECKS: tuple[Check, ...] = (is_documented, judges_every_answer)
