"""Marks code that can't change a result."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def runtime_only(reason: str) -> Callable[[T], T]:
    """Mark a function or class that can't change a result. ``reason`` says why, for the reviewer.

    The code digest stops there (``llm_core.graph.code_digest``): neither the marked definition nor code that only it
    reaches is part of an identity. ``tests/graph/runtime_only.txt`` lists all marks, so that a new one is reviewed.
    """
    assert reason

    def unchanged(definition: T) -> T:
        return definition

    return unchanged
