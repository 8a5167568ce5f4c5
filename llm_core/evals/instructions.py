"""Items whose answers are checked by rules: their arguments, and which rules an answer keeps.

Strict: the answer as it is. Loose: one of its eight forms (``loosely``), as models often begin with a greeting or write
in bold. An empty answer keeps no rule.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import ValidationError, create_model

from llm_core.data.suites import Rule, read_suite
from llm_core.errors import PedigreeError
from llm_core.evals.instruction_rules import loosely
from llm_core.experiment.base import Spec, from_plain, told
from llm_core.experiment.suites import InstructionsSuite
from llm_core.registries import INSTRUCTION_RULES

EXAMPLE = "This is an answer."

Kept = Callable[[str], bool]


def check_rules(suite: InstructionsSuite) -> None:
    """Raise ``PedigreeError`` with file, line and field for arguments that do not fit their rule, and for a rule that
    fails on an answer: its package is missing, or a keyword is no regular expression."""
    for item in read_suite(suite):
        for place, rule in enumerate(item.rules):
            try:
                bound(rule)(EXAMPLE)
            except Exception as error:  # of a plug-in's rule, any
                field = f"{suite.rules if suite.arguments is None else suite.arguments}[{place}]"
                path = Path(suite.path).expanduser()
                raise PedigreeError(
                    f"{path}: line {item.item_id}: the field {field!r} (of the rule {rule.name}): {error}"
                ) from None


def kept(answer: str, rules: Sequence[Rule]) -> tuple[list[bool], list[bool]]:
    """Which of the ``rules`` the answer keeps, strictly and loosely."""
    checks = [bound(rule) for rule in rules]
    forms = [form for form in loosely(answer) if form.strip()]
    strict = [bool(answer.strip()) and check(answer) for check in checks]
    return strict, [any(map(check, forms)) for check in checks]


def bound(rule: Rule) -> Kept:
    """The rule with its arguments. Raises ``ValueError`` for arguments that do not fit."""
    function = INSTRUCTION_RULES.load(rule.name)
    try:
        arguments = from_plain(_arguments(function), rule.arguments)
    except ValidationError as error:
        raise ValueError(told(error)) from None
    values = {name: getattr(arguments, name) for name in type(arguments).model_fields}
    return lambda answer: bool(function(answer, **values))


def named_arguments(function: Callable[..., bool]) -> dict[str, Any]:
    """The arguments of a rule beside the answer → their types."""
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters.values()
    return {one.name: hints[one.name] for one in parameters if one.kind is one.KEYWORD_ONLY}


@cache
def _arguments(function: Callable[..., bool]) -> type[Spec]:
    """The arguments of a rule, as settings. All are required."""
    fields: Any = {name: (kind, ...) for name, kind in named_arguments(function).items()}
    return create_model(function.__name__, __base__=Spec, **fields)
