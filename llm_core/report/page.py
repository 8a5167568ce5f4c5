"""Writes reports: sections to self-contained HTML files, and their pictures."""

from collections.abc import Mapping
from importlib.resources import files

from llm_core.errors import PedigreeError
from llm_core.experiment.reports import ChosenSections
from llm_core.graph.job import Job
from llm_core.registries import SECTIONS
from llm_core.report.blocks import Section, pictures_in

Sections = Mapping[str, Section | None]
"""Anchor → section. None: the artifacts have nothing for it, and the page is without it."""

_CHOSEN = "own-"
"""The anchors of chosen sections begin with it."""


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
        found[f"{_CHOSEN}{kind}"] = section
    return found


def save_pictures(job: Job, *pages: Sections) -> dict[str, str]:
    """Save the pictures of all pages of a report, and return picture → its file.

    ``PedigreeError`` when two have one name.
    """
    places: dict[str, str] = {}
    saved: dict[str, str] = {}
    for anchor, section in (item for page in pages for item in page.items()):
        place = anchor.removeprefix(_CHOSEN)
        for picture in pictures_in(section.blocks if section else []):
            if picture.name in saved:
                raise PedigreeError(
                    f"two pictures are called {picture.name}, one in the section {places[picture.name]} and one in the "
                    f"section {place}: give one of them another name"
                )
            places[picture.name], saved[picture.name] = place, picture.save(job.out)
    return saved


def write_page(job: Job, file: str, kind: str, title: str, lead: str, sections: Sections) -> None:
    """Write the page ``file``. All texts are escaped."""
    # Imported here, so that evaluating a stage's checks does not load it.
    from jinja2 import Environment, StrictUndefined

    shown = {anchor: section for anchor, section in sections.items() if section is not None}
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.from_string(_read("page.html"))
    page = template.render(css=_read("page.css"), kind=kind, title=title, lead=lead, sections=shown)
    (job.out / file).write_text(page, encoding="utf-8")


def _read(name: str) -> str:
    return (files("llm_core.report") / name).read_text(encoding="utf-8")
