"""Conditions on the fields of a record (``int_score >= 3``), as a source's ``where`` lists them."""

import json
import re
from typing import Any, Literal, NamedTuple, NoReturn

Kind = Literal["number", "text", "truth"]
"""The type of a condition's value: JSON number, string or boolean."""

OPERATORS = ("==", "!=", ">=", "<=", ">", "<", "in")

_SHAPE = re.compile(
    r"""\s*(?P<field>"(?:[^"\\]|\\.)*"|[^\s"<>=!]+)\s*(?P<operator>==|!=|>=|<=|>|<|in(?=[\s\["]))\s*(?P<value>.*)""",
    re.DOTALL,
)
_EXAMPLES = 'int_score >= 3, language == "en", lang in ["en", "de"]'
_LARGEST = 1 << 63


class Condition(NamedTuple):
    """``field operator value``. For ``in``, ``value`` is a tuple whose items all have type ``kind``."""

    text: str
    field: str
    operator: str
    value: Any
    kind: Kind


def parsed_condition(text: str) -> Condition:
    """Parse a condition. Raises ``ValueError`` that says what is wrong, and how to write it.

    A field's name that contains spaces or operators is written as a JSON string.
    """
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        raise ValueError(
            f"{text!r} is not a condition; write a field, one of {', '.join(OPERATORS)}, and a JSON value, "
            f"as in: {_EXAMPLES}"
        )
    field, operator = shape["field"], shape["operator"]
    value = _literal(text, shape["value"])
    if operator == "in":
        if not isinstance(value, list) or not value:
            raise ValueError(f"{text!r}: after 'in', write a JSON list of at least one value")
        kinds = {_kind(text, item) for item in value}
        if len(kinds) > 1:
            raise ValueError(f"{text!r}: the values of the list are of several types; write values of one type")
        kind, value = kinds.pop(), tuple(value)
    else:
        kind = _kind(text, value)
        if kind == "truth" and operator not in ("==", "!="):
            raise ValueError(f"{text!r}: true and false have no order; use == or !=")
    name = _literal(text, field) if field.startswith('"') else field
    return Condition(text.strip(), name, operator, value, kind)


def _literal(text: str, content: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        return json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise ValueError(
            f"{text!r}: {content!r} is not a JSON value; write a number, true, false, a text in double quotes, "
            "or (after 'in') a list of them"
        ) from None


def _kind(text: str, value: Any) -> Kind:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        if not -_LARGEST <= value < _LARGEST:
            raise ValueError(f"{text!r}: the number needs more than 64 bits")
        return "number"
    raise ValueError(
        f"{text!r}: compare with a number, a text, true or false; records without the field are bad records anyway"
    )
