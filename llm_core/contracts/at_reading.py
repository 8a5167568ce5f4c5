"""What is checked of a plug-in's component when an experiment names it, where no class of settings does that."""

import inspect
from collections.abc import Callable
from typing import Any


def check_rule(_: str, rule: Any) -> None:
    """Raise ``ValueError`` when ``rule`` is no function without arguments that returns a polars expression."""
    import polars as pl

    _check_called(rule)
    found = rule()
    if not isinstance(found, pl.Expr):
        raise ValueError(f"returns {_what(found)}: return a polars expression (is there a return?)")


def _check_called(rule: Callable[..., Any]) -> None:
    try:
        inspect.signature(rule).bind()
    except TypeError as error:
        raise ValueError(
            f"must be a function without arguments ({error}); llm_core.data.rules.measures:text() is the column"
        ) from None


def check_packing(_: str, packing: Any) -> None:
    """Raise ``ValueError`` when ``packing`` lacks a part of ``llm_core.tokens.packing.Packing``."""
    missing = [name for name in ("pieces", "rows_with", "stats") if not callable(getattr(packing, name, None))]
    if not isinstance(getattr(packing, "windows", None), bool):
        missing.insert(0, "windows (True or False)")
    if missing or not isinstance(packing, type):
        lacks = f"has no {' and no '.join(missing)}" if missing else "is no class"
        raise ValueError(f"{lacks}: define what llm_core.tokens.packing.Packing documents")


def check_family(name: str, family: Any) -> None:
    """Raise ``ValueError`` when ``family`` is no ``Family`` of this name, or lacks a part."""
    from llm_core.model.hf.family import Family

    if not isinstance(family, Family):
        raise ValueError(f"is {_what(family)}: make it a llm_core.model.hf.family.Family")
    if family.name != name:
        raise ValueError(f'its name is {family.name!r}: write name="{name}", the name of its entry')
    empty = [part for part in ("architecture", "parts", "outer", "block", "head") if not getattr(family, part)]
    if empty:
        raise ValueError(f"has no {' and no '.join(empty)}: define what llm_core.model.hf.family.Family documents")


def _what(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
