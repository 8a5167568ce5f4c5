"""The documentation as it lies in the repository: its links, and what `make docs` shows of it."""

import json
import re
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
    files = {target.partition("#")[0] for target in targets if "://" not in target} - {""}
    missing = sorted(file for file in files if not (page.parent / file).exists())
    assert not missing


def test_the_site_has_every_page() -> None:
    sections = yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = [file for section in sections for pages in section.values() for page in pages for file in page.values()]
    assert sorted(named) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def test_pictures_of_reports_are_as_new_as_the_pages() -> None:
    made_of = json.loads((DOCS / "images" / "made_of.json").read_text(encoding="utf-8"))
    now = {name: text_digest((PROJECT / name).read_bytes()) for name in PAGE_FILES}
    assert made_of == now, "the pages look different now: run `python docs/images/make_images.py`"
