"""Writes pages: sections to one self-contained HTML file, and their pictures."""

from collections.abc import Mapping
from importlib.resources import files

from llm_core.experiment.reports import ChosenSections
from llm_core.graph.job import Job
from llm_core.registries import SECTIONS
from llm_core.report.blocks import Section, pictures_in

Sections = Mapping[str, Section | None]
"""Anchor → section. None: the artifacts have nothing for it, and the page is without it."""


def chosen_sections(job: Job, chosen: ChosenSections) -> dict[str, Section | None]:
    """The sections that the experiment chooses. An exception of one has a note with its name."""
    found: dict[str, Section | None] = {}
    for kind, component in chosen.items():
        try:
            section = component.build(job)
            if not isinstance(section, Section | None):
                raise TypeError(f"build returned {type(section).__name__}, not a Section of llm_core.report.blocks")
        except Exception as error:
            error.add_note(f"in the {SECTIONS.what} {kind}")
            raise
        found[f"own-{kind}"] = section
    return found


def write_page(job: Job, file: str, kind: str, title: str, lead: str, sections: Sections) -> dict[str, str]:
    """Write the page ``file`` and its pictures, and return picture → its file. All texts are escaped."""
    # Imported here, so that evaluating a stage's checks does not load it.
    from jinja2 import Environment, StrictUndefined

    shown = {anchor: section for anchor, section in sections.items() if section is not None}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_read("page.html"))
    page = template.render(css=_read("page.css"), kind=kind, title=title, lead=lead, sections=shown)
    (job.out / file).write_text(page, encoding="utf-8")
    pictures = pictures_in([block for section in shown.values() for block in section.blocks])
    saved: dict[str, str] = {}
    for picture in pictures:
        if picture.name in saved:
            raise ValueError(f"two pictures are called {picture.name}: give one of them another name")
        saved[picture.name] = picture.save(job.out)
    return saved


def _read(name: str) -> str:
    return (files("llm_core.report") / name).read_text(encoding="utf-8")
