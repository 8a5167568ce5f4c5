"""The docstrings of classes and of their fields."""

import ast
import inspect
import sys
from functools import cache

from pydantic import BaseModel


def field_docs(cls: type[BaseModel]) -> dict[str, str]:
    """Field → the text under it, on one line; also for inherited fields."""
    found: dict[str, str] = {}
    for owner in reversed(cls.__mro__[: cls.__mro__.index(BaseModel)]):
        found |= _module_docs(owner.__module__).get(owner.__qualname__, {})
    return found


@cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    """Class → field → the text under it, for all classes of a module."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    found: dict[str, dict[str, str]] = {}
    for cls in tree.body:
        if isinstance(cls, ast.ClassDef):
            for field, after in zip(cls.body, cls.body[1:], strict=False):
                text = after.value if isinstance(after, ast.Expr) else None
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                    found.setdefault(cls.name, {})[ast.unparse(field.target)] = " ".join(text.value.split())
    return found


def class_doc(owner: object) -> str:
    """The docstring of a class or a function, one paragraph per line."""
    paragraphs = inspect.cleandoc(owner.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
