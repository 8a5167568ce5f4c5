"""The documentation as it lies in the repository: its links, and what `make docs` shows of it."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from assets.release import PAGE_FILES
from llm_core.graph.code_digest import text_digest
from llm_core.store.home import PROJECT

DOCS = PROJECT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), PROJECT / "README.md", PROJECT / "CONTRIBUTING.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```|``.+?``|`[^`\n]+`", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_links_and_images_exist(page: Path) -> None:
    targets = LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))
    places = {
        (page.parent / file if file else page, anchor) for file, _, anchor in map(_parts, targets) if file != "://"
    }
    missing = [f"{file}#{anchor}" for file, anchor in sorted(places) if not file.exists()]
    missing += [f"{file}#{anchor}" for file, anchor in sorted(places) if anchor and anchor not in _anchors(file)]
    assert not missing


def _parts(target: str) -> tuple[str, str, str]:
    return ("://", "", "") if "://" in target else target.partition("#")


@cache
def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs name them."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    texts = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-") for text in texts}


def test_the_site_has_every_page() -> None:
    sections = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = [file for section in sections for pages in section.values() for page in pages for file in page.values()]
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_pictures_of_reports_are_as_new_as_the_pages() -> None:
    made_of = json.loads((DOCS / "images" / "made_of.json").read_text(encoding="utf-8"))
    now = {name: text_digest((PROJECT / name).read_bytes()) for name in PAGE_FILES}
    assert made_of == now, "the pages look different now: run `python docs/images/make_images.py`"
