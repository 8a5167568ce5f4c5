"""What is checked of a plug-in's component when an experiment names it, and that no class of settings checks."""

import inspect
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, get_args


def check_declarations(_: str, found: Any) -> None:
    """Raise ``ValueError`` for a class with settings that does not declare what its base class declares."""
    from llm_core.experiment.component import Component

    if not (isinstance(found, type) and issubclass(found, Component)):
        return
    for name, field in found.model_fields.items():
        if _contains_path(field.annotation):
            raise ValueError(
                f"its setting {name} is a Path: use YamlPath (llm_core.experiment.paths), a text that starts at the "
                "folder of the YAML file"
            )
    for base in found.__mro__[1 : found.__mro__.index(Component)]:
        for name, default in vars(base).items():
            own = inspect.getattr_static(found, name, None)
            declared = name in getattr(base, "__class_vars__", ()) and isinstance(default, tuple)
            if declared and not isinstance(own, tuple | list):
                raise ValueError(f"its {name} is {own!r}: write a tuple of texts, ({str(own)!r},)")
            if getattr(default, "__isabstractmethod__", False) and inspect.isfunction(own):
                _check_accepts(own, name, [*inspect.signature(default).parameters])


def _contains_path(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, PurePath):
        return True
    return any(_contains_path(part) for part in get_args(annotation))


def _check_accepts(method: Callable[..., Any], name: str, arguments: list[str]) -> None:
    try:
        inspect.signature(method).bind(*arguments)
    except TypeError as error:
        raise ValueError(f"can't be called as {name}({', '.join(arguments)}): {error}") from None


def check_rule(_: str, rule: Any) -> None:
    """Raise ``ValueError`` when ``rule`` is no function without arguments that returns a polars expression."""
    import polars as pl

    _check_called(rule)
    found = rule()
    if not isinstance(found, pl.Expr):
        raise ValueError(f"returns {_what(found)}: return a polars expression (is there a return?)")


def check_judge(_: str, judge: Any) -> None:
    """Raise ``ValueError`` when ``judge`` does not return a number for a question, an answer and its likelihoods."""
    try:
        inspect.signature(judge).bind("What?", "That.", [-0.5, -1.0])
    except TypeError as error:
        raise ValueError(f"must take a question, an answer and its nats ({error})") from None
    found = judge("What?", "That.", [-0.5, -1.0])
    if not isinstance(found, int | float):
        raise ValueError(f"returns {_what(found)}: return a number, the higher the better (is there a return?)")


def check_instruction_rule(_: str, rule: Any) -> None:
    """Raise ``ValueError`` when ``rule`` is no function of an answer, with arguments that have types and are named."""
    parameters = list(inspect.signature(rule).parameters.values()) if inspect.isfunction(rule) else []
    wrong = [one.name for one in parameters[1:] if one.kind is not one.KEYWORD_ONLY or one.annotation is one.empty]
    if not parameters or parameters[0].kind is not parameters[0].POSITIONAL_OR_KEYWORD or wrong:
        raise ValueError(
            "must be a function of an answer and of named arguments with types: def rule(answer, *, words: int)"
        )


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


def check_device_type(_: str, found: Any) -> None:
    """Raise ``ValueError`` when ``found`` is no ``DeviceType``."""
    from llm_core.train.devices.device_type import DeviceType

    if not isinstance(found, DeviceType):
        raise ValueError(f"is {_what(found)}: make it an object of a subclass of {DeviceType.__module__}.DeviceType")


def _what(value: Any) -> str:
    if value is None or isinstance(value, type):
        return "None" if value is None else "a class"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
