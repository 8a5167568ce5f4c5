"""Whether a record meets the conditions of its source's ``where``."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from llm_core.experiment.conditions import Condition, Kind

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
"""Operator → function that compares two values, or a column with a value. ``in`` is not among them."""

NAMES: Mapping[Kind, str] = {"number": "a number", "text": "a text", "truth": "true or false"}


def meets(condition: Condition, value: Any) -> bool:
    """Whether ``value`` meets the condition; it has the condition's kind."""
    if condition.operator == "in":
        return value in condition.value
    return bool(COMPARISONS[condition.operator](value, condition.value))


def is_of_kind(value: Any, kind: Kind) -> bool:
    """Whether a JSON value is of ``kind``; NaN is no number."""
    if kind == "truth":
        return isinstance(value, bool)
    if kind == "text":
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def skipped_kind(condition: Condition) -> str:
    """The kind under which a record that does not meet the condition is counted."""
    return f"where {condition.text}"


def missing_reason(condition: Condition) -> str:
    """The reason for a bad record without the field."""
    return f"where {condition.text}: no {condition.field}"


def wrong_reason(condition: Condition) -> str:
    """The reason for a bad record whose field has another type."""
    return f"where {condition.text}: {condition.field} is not {NAMES[condition.kind]}"
