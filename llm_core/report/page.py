"""Pages from templates: one HTML file each, which loads nothing."""

from importlib.resources import files
from typing import Any


def render(template: str, **fields: Any) -> str:
    """The page that ``template`` (a file beside this module) makes of ``fields``; every text is escaped.

    Figures are ``pictures``: name → ``Picture``.
    """
    # Imported late: who only looks at a stage's checks need not wait for it.
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_read), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).render(css=_read("page.css"), **fields)


def _read(name: str) -> str:
    return (files("llm_core.report") / name).read_text(encoding="utf-8")
