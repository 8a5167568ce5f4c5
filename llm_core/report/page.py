"""Renders templates to self-contained HTML pages."""

from importlib.resources import files
from typing import Any


def render(template: str, **fields: Any) -> str:
    """Render ``template`` (a file beside this module) with ``fields``. All texts are escaped.

    Figures are in ``pictures``: name → ``Picture``.
    """
    # Imported here, so that evaluating a stage's checks does not load it.
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(css=_read("page.css"), **fields)


def _read(name: str) -> str:
    return (files("llm_core.report") / name).read_text(encoding="utf-8")
