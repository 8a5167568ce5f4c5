"""`pedigree launch`: what `make run` does."""

from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from pipelines.launching import location
from tests.pipelines.conftest import World
from tests.pipelines.test_end_to_end import copy_of


def test_an_experiment_has_its_module_or_goes_through_custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_EXPERIMENT", "unset")
    assert location("proxy") == "pipelines.proxy"
    own = tmp_path / "mine.yaml"
    own.write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    assert location("mine.yaml") == "pipelines.custom"
    import os

    assert os.environ["PEDIGREE_EXPERIMENT"] == str(own)
    with pytest.raises(PedigreeError, match="there is no experiment 'nowhere'"):
        location("nowhere")


def test_a_launch_runs_what_dagster_does_not_know_yet(finished: World, tmp_path: Path) -> None:
    pytest.importorskip("dagster_dg_cli")
    world = copy_of(finished, tmp_path)

    def launch(*arguments: str) -> tuple[int, str, str]:
        done = world.run("pipelines.cli", "launch", str(world.experiment), *arguments)
        return done.returncode, done.stdout, done.stderr

    code, out, err = launch()
    assert code == 0, err
    assert " hits, 0 to make" in out
    assert "tokenizer: hit" in err
    assert "report.html" in out
    assert "Warning" not in err
    code, out, err = launch()
    assert (code, err) == (0, "")
    assert "there is nothing to run" in out
    assert "report.html" in out
    world.edit("min_words: {min: 5}", "min_words: {min: 6}")
    code, out, err = launch()
    assert code == 0, err
    assert "clean_documents: to be made (cleaning.rules.min_words.min: 5.0 → 6.0)" in err
    assert "clean_documents: made in " in err
    world.edit("min_words: {min: 6}", "min_words: {min: 5}")
    assert "clean_documents: hit" in launch()[2]  # Dagster's newest are those of the run between

    code, out, err = launch("--select", "micro/nothing")
    assert code == 1
    assert "Dagster can't launch 'micro/nothing': " in err
    assert "Traceback" not in err
    world.edit("checks: {", "checks: {max_drop_share: 0.0, ")
    world.edit("min_words: {min: 5}", "min_words: {min: 120}")
    code, out, err = launch("--select", '+key:"micro/unique_documents"')
    assert code == 1
    assert "drop_share" in err
    assert "Materialization failed. What failed, and why, stands above" in err
