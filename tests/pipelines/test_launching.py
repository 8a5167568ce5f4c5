"""`pedigree launch`: what `make run` does. The whole of it is run in ``test_end_to_end``."""

import os
from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from pipelines.launching import location


def test_an_experiment_has_its_module_or_goes_through_custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_EXPERIMENT", "unset")
    assert location("proxy") == "pipelines.proxy"
    assert os.environ["PEDIGREE_EXPERIMENT"] == "unset"
    own = tmp_path / "mine.yaml"
    own.write_text("name: mine\n")
    monkeypatch.chdir(tmp_path)
    assert location("mine.yaml") == "pipelines.custom"
    assert os.environ["PEDIGREE_EXPERIMENT"] == str(own)
    with pytest.raises(PedigreeError, match="there is no experiment 'nowhere'"):
        location("nowhere")
