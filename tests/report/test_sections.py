"""What every section that can be chosen must keep to, and one that somebody else writes."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from assets.graph import experiment_graph
from llm_core.contracts.settings import entries_of, torch_after_loading, unexplained
from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment
from llm_core.experiment.reports import ReportsSpec, SectionSpec
from llm_core.graph.code_digest import CodeReader
from llm_core.graph.identity import code
from llm_core.graph.job import Job
from llm_core.registries import SECTIONS
from llm_core.report import data_report, training_report
from llm_core.report.bars import Bar, bars
from llm_core.report.blocks import Marked, Section, text
from llm_core.store.home import PROJECT
from llm_core.store.manifest import Artifact
from tests.experiment.test_load import MINIMAL
from tests.report.conftest import HOSTILE, job_of
from tests.report.data_story import CLEANING, story
from tests.report.test_training_report import Page

DOCS = (PROJECT / "docs" / "plugins.md").read_text()
SETTINGS: dict[str, dict[str, Any]] = {"notes": {"paragraphs": ("one", HOSTILE)}}

every_kind = pytest.mark.parametrize("kind", SETTINGS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    return story(tmp_path_factory.mktemp("data"))


def pages(data: dict[str, Artifact], training: Callable[..., Job], folder: Path, **chosen: SectionSpec) -> list[Page]:
    """Both reports with the sections ``chosen``."""
    jobs = job_of(data, folder), training()
    data_report.build(jobs[0], "tiny", CLEANING, chosen)
    training_report.build(jobs[1], "tiny", 0.0, chosen)
    files = jobs[0].out / "data_report.html", jobs[1].out / "report.html"
    return [Page(file.read_text(encoding="utf-8")) for file in files]


def test_all_load_without_torch() -> None:
    assert not torch_after_loading(entries_of("SECTIONS"))


@every_kind
def test_it_is_whole_documented_and_shown_on_both_reports(
    kind: str, data: dict[str, Artifact], report_job: Callable[..., Job], tmp_path: Path
) -> None:
    component = SECTIONS.load(kind)
    assert issubclass(component, SectionSpec)
    assert component.model_fields["kind"].default == kind
    assert not unexplained(component)
    assert f"`{kind}`" in DOCS
    chosen = ReportsSpec.model_validate({"data": {kind: SETTINGS[kind]}})
    assert ReportsSpec.model_validate_json(chosen.model_dump_json()) == chosen
    for page in pages(data, report_job, tmp_path, **chosen.data):
        assert page.open == []
        assert ("section", {"id": f"own-{kind}"}) in page.tags


def test_every_section_of_pedigree_is_tested() -> None:
    assert {kind for kind, target in SECTIONS.items() if target.startswith("llm_core.")} == set(SETTINGS)


def test_html_of_a_section_stays_text(
    data: dict[str, Artifact], report_job: Callable[..., Job], tmp_path: Path
) -> None:
    shown = SECTIONS.load("notes")(title=HOSTILE, paragraphs=(HOSTILE,))
    plain = pages(data, report_job, tmp_path)
    for before, page in zip(plain, pages(data, report_job, tmp_path, notes=shown), strict=True):
        assert page.text.count(HOSTILE) == before.text.count(HOSTILE) + 3, "heading, navigation, text"
        assert not {name for name, _ in page.tags} & {"script", "img"}


def test_only_known_tags_are_written() -> None:
    with pytest.raises(ValueError, match="tag 'script': choose one of a, b, code"):
        Marked("x", "script")  # type: ignore[arg-type]


# --- one from outside ------------------------------------------------------------------------------------------------


@pytest.fixture
def documented(plugin_folder: Path, tmp_path: Path) -> Path:
    """An experiment with the section of the page of plug-ins."""
    (source,) = re.findall(r"```python\n(\"\"\".*?)```", DOCS, re.DOTALL)
    (plugin_folder / "text_kept.py").write_text(source)
    *_, chosen = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    path = tmp_path / "it.yaml"
    path.write_text(MINIMAL + chosen)
    return path


def test_the_one_of_the_page_works_as_it_is(documented: Path, data: dict[str, Artifact], tmp_path: Path) -> None:
    sections = load_experiment(documented).reports.data
    assert not unexplained(SECTIONS.load("text_kept"))
    job = job_of(data, tmp_path)
    results = data_report.build(job, "tiny", CLEANING, sections)
    assert (job.out / results.figures["text_kept"]).stat().st_size > 1000
    page = Page((job.out / "data_report.html").read_text(encoding="utf-8"))
    assert "web21.0 kB67.7%" in page.text.replace("\n", "")


def test_its_code_makes_only_its_report_again(documented: Path, plugin_folder: Path) -> None:
    graph = experiment_graph(load_experiment(documented))

    def digests() -> dict[str, dict[str, str]]:
        reader = CodeReader(PROJECT, plugins=("text_kept",))
        return {stage.name: code(stage, reader) for stage in graph if stage.group == "release"}

    before, file = digests(), plugin_folder / "text_kept.py"
    file.write_text(file.read_text().replace('"By source."', '"Source by source."'))
    after = digests()
    assert [name for name in before if before[name] != after[name]] == ["data_report"]


def test_an_experiment_without_a_stage_that_it_needs_is_refused(documented: Path, plugin_folder: Path) -> None:
    file = plugin_folder / "text_kept.py"
    file.write_text(file.read_text().replace('"raw_documents",', '"judged_documents",'))
    sys.modules.pop("text_kept", None)
    with pytest.raises(PedigreeError, match=r"it: reports\.data\.text_kept needs judged_documents; the report has "):
        experiment_graph(load_experiment(documented))


class Broken(SectionSpec):
    """Not a section, or an error."""

    kind: Literal["broken"] = "broken"
    needs: ClassVar = ()

    def build(self, job: Job) -> Any:
        """See ``SectionSpec``."""
        return job.inputs["nowhere"]


def test_one_that_raises_is_named(data: dict[str, Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_of(data, tmp_path)
    with pytest.raises(KeyError) as caught:
        data_report.build(job, "tiny", CLEANING, {"broken": Broken()})
    assert caught.value.__notes__ == ["in the report section broken"]
    monkeypatch.setattr(Broken, "build", lambda *_: "text")
    with pytest.raises(TypeError, match="build returned str, not a Section"):
        data_report.build(job, "tiny", CLEANING, {"broken": Broken()})


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ("{note: {}}", r"reports\.data: unknown report section 'note'; known: notes"),
        ("{notes: {}}", r"reports\.data: notes: paragraphs: Field required"),
        ("[notes]", r"reports\.data: give a mapping from report sections to their settings"),
    ],
)
def test_what_is_wrong_with_sections_is_told_with_their_place(tmp_path: Path, chosen: str, told: str) -> None:
    (tmp_path / "it.yaml").write_text(f"{MINIMAL}reports: {{data: {chosen}}}\n")
    with pytest.raises(PedigreeError, match=rf"it\.yaml: {told}"):
        load_experiment(tmp_path / "it.yaml")


def test_pictures_of_one_name_are_refused(
    data: dict[str, Artifact], report_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def called(name: str) -> dict[str, SectionSpec]:
        twice = bars(name, "Twice", [Bar("a", 1, "1")])
        monkeypatch.setattr(Broken, "build", lambda *_: Section("Twice", [text("x"), twice]))
        return {"broken": Broken()}

    message = "two pictures are called drops, one in the section rules and one in the section broken: give one"
    with pytest.raises(PedigreeError, match=message):
        data_report.build(job_of(data, tmp_path), "tiny", CLEANING, called("drops"))
    message = "two pictures are called tokens_per_second, one in the section broken and one in the section speed"
    with pytest.raises(PedigreeError, match=message):  # on the page beside it
        training_report.build(report_job(), "tiny", 0.0, called("tokens_per_second"))
