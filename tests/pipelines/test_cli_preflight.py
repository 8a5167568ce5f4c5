from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm_core.train.spec import read_spec
from pipelines.cli import app
from pipelines.session import open_session


@pytest.fixture(autouse=True)
def _home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))


def test_a_laptop_writes_what_the_gpu_machine_reads(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    done = CliRunner().invoke(app, ["preflight", "one_billion", "--write", str(path), "--work", "w"])
    assert done.exit_code == 0, done.output
    spec, experiment = read_spec(path), open_session("one_billion").experiment
    assert (spec.training, spec.model, spec.seed) == (experiment.training, experiment.model, experiment.seed)
    assert (spec.shards, spec.work) == (tmp_path / "token_shards", tmp_path / "w")


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "spec.json"
    done = CliRunner().invoke(app, ["preflight", "one_billion", "--write", str(path)])
    assert done.exit_code == 1
    assert "can't be written: No such file" in done.output


def test_a_bundle_needs_what_it_names(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["preflight", "tiny", "--write", str(tmp_path / "away")])
    assert done.exit_code == 1
    assert "must be made first: pedigree run tiny --select token_shards --select tokenizer" in done.output
    assert not (tmp_path / "away").exists()


def test_what_is_no_run_is_not_adopted(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["adopt", str(tmp_path)])
    assert done.exit_code == 1
    assert "holds no run" in done.output
