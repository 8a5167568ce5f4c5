"""The documentation as it lies in the repository: its links, and what `make docs` shows of it."""

import re
from pathlib import Path

import pytest
import yaml

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
