"""Makes the pictures of reports from a finished run of ``tiny``: ``python docs/images/make_images.py``.

Needs Chromium. ``made_of.json`` has the digests of the files that shape the reports; a test compares them, so a change of these
files is not complete before this was run again.
"""

import json
import shutil
import subprocess

from assets.release import PAGE_FILES, PAGES
from llm_core.errors import PedigreeError
from llm_core.graph.code_digest import text_digest
from llm_core.store.home import PROJECT
from llm_core.store.manifest import Artifact
from pipelines.session import open_session

HERE = PROJECT / "docs" / "images"
MADE_OF = HERE / "made_of.json"
REPORTS = {"report": ("training_report", (1200, 760)), "data_report": ("data_report", (1060, 1060))}
"""Picture → its report, and its size in pixels."""


def digests() -> dict[str, str]:
    """The files that shape the reports → their digests."""
    return {name: text_digest((PROJECT / name).read_bytes()) for name in PAGE_FILES}


def shoot(url: str, name: str, size: tuple[int, int]) -> None:
    """A picture of the top of a page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise PedigreeError("there is no chromium on this machine: install it (apt-get install chromium)")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--window-size={size[0]},{size[1]}",
    ]
    file = HERE / f"{name}.png"
    subprocess.run([browser, *options, f"--screenshot={file}", url], check=True, capture_output=True, timeout=300)
    print(file)


def made(stage: str) -> Artifact:
    """What was made of a stage by the code as it is now."""
    (item,) = [item for item in open_session("tiny").planner().plan({stage}) if item.stage == stage]
    if item.artifact is None:
        raise PedigreeError(f"there is no {stage} of tiny as it is now: run `pedigree run tiny`, then this again")
    return item.artifact


def main() -> None:
    for name, (stage, size) in REPORTS.items():
        shoot((made(stage).path / PAGES[stage]).as_uri(), name, size)
    report = made("training_report")
    shutil.copyfile(report.path / report.stats["figures"]["data_funnel"], HERE / "asset_plot.png")
    MADE_OF.write_text(json.dumps(digests(), indent=1) + "\n")


if __name__ == "__main__":
    main()
