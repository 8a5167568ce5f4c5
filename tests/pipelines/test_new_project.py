"""``pedigree init``: a folder of one's own in which everything works."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from llm_core.errors import PedigreeError
from llm_core.store.home import PROJECT
from pipelines.new_project import TEMPLATE, make_project


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A Python command as it runs in a folder, with Pedigree installed."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PEDIGREE_HOME": str(folder / ".pedigree")}
    return subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    projects = tmp_path_factory.mktemp("projects")
    done = run(projects, "-m", "pipelines.cli", "init", "river-words")
    assert done.returncode == 0, done.stderr
    template = [path for path in TEMPLATE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    told = [line for line in done.stdout.splitlines() if line.startswith("river-words")]
    assert len(told) == len(template) + 1  # schema.json
    return projects / "river-words"


def test_nothing_is_named_as_in_the_template(project: Path) -> None:
    for path in project.rglob("*"):
        assert "my_model" not in path.name
        if path.is_file():
            assert "my_model" not in path.read_text()
            assert "my-model" not in path.read_text()
    assert (project / ".gitignore").is_file()


def test_its_schema_knows_its_component(project: Path) -> None:
    text = (project / "experiment.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    assert "schema.json" in (project / ".gitignore").read_text()
    validator = Draft7Validator(json.loads((project / "schema.json").read_text()))
    validator.validate(yaml.safe_load(text))
    assert not validator.is_valid(yaml.safe_load(text.replace("advert_lines", "advert_line")))


def test_its_component_is_tested(project: Path) -> None:
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout


def test_it_is_planned_with_its_component_from_anywhere_and_nothing_is_written_there(
    project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "read_only"
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns(".pedigree", "__pycache__"))
    before = sorted(folder.rglob("*"))
    folder.chmod(0o500)
    done = run(tmp_path, "-B", "-m", "pipelines.cli", "plan", str(folder / "experiment.yaml"), "--json")
    folder.chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert '"stage": "pretrained_model"' in done.stdout
    assert sorted(folder.rglob("*")) == before
    # Dagster finds the code location by the workspace.
    done = run(project, "-c", "import definitions; print(len(definitions.defs.assets))")
    assert done.returncode == 0, done.stderr


def test_without_its_package_the_plugin_is_told(project: Path, tmp_path: Path) -> None:
    shutil.copyfile(project / "experiment.yaml", tmp_path / "experiment.yaml")
    done = run(tmp_path, "-m", "pipelines.cli", "plan", "experiment.yaml")
    assert done.returncode == 1
    assert "experiment.yaml: plugins: plug-in river_words.components: there is no such module" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PedigreeError, match="permission is denied"):
        make_project(tmp_path / "own")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("2-models", "becomes that of a Python package"),
        ("json", "a Python package json exists already"),
        ("assets", "a Python package assets exists already"),
        ("polars", "a Python package polars exists already"),
    ],
)
def test_names_that_can_not_be_a_package(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(PedigreeError, match=told):
        make_project(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    with pytest.raises(PedigreeError, match="is not empty, and nothing was changed"):
        make_project(own)
    assert [path.name for path in own.iterdir()] == ["notes.txt"]


def test_a_package_of_ones_own_named_assets_is_told(project: Path, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "__init__.py").touch()
    done = run(tmp_path, "-m", "pipelines.cli", "plan")
    assert done.returncode == 1
    assert f"{tmp_path / 'assets'}: another package named assets hides Pedigree's" in done.stderr
    shutil.rmtree(tmp_path / "assets")
