from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from llm_core.experiment.model_presets import MODELS
from llm_core.model.accounting import parameter_count
from pipelines.cli import app
from pipelines.show_model import described


def told(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_by_name_is_shown(name: str) -> None:
    done = told("model", name, "--vocab-size", "1000")
    assert done.exit_code == 0, done.output
    model = described(name, 1000, None)
    assert f"{parameter_count(model.spec, 1000).total:,}" in done.output
    assert "after 2,048" in done.output
    assert ("after 32,768" in done.output) == (name != "hyena_1b"), "it reads no more than 2,048"


def test_layers_that_are_alike_are_one_row() -> None:
    lines = told("model", "tiny_mixattention").output.splitlines()
    assert [line.split()[0] for line in lines[2:10]] == list("01234567")
    assert "layer 3" in lines[9]
    assert told("model", "llama3_1b").output.splitlines()[2].startswith("0–15")


def test_an_experiment_is_shown_with_its_own_vocabulary() -> None:
    assert "tiny: d_model 256, 3 layers, vocabulary 4,096" in told("model", "tiny").output


@pytest.mark.parametrize("depth", [1, 2])
def test_rows_and_the_last_norm_are_all_parameters(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "further.yaml"
    further = f"model: {{preset: tiny_llama3, multi_token: {{depth: {depth}}}}}\n"
    path.write_text(further + "training: {batch_tokens: 512, tokens: 5120}\n")
    lines = told("model", str(path)).output.splitlines()
    assert lines[3].startswith("multi_token 1–2" if depth == 2 else "multi_token  ")
    layers, modules = (int(line.split("swiglu 352")[1].split()[0].replace(",", "")) for line in lines[2:4])
    count = parameter_count(described(str(path), None, None).spec, 4096)
    assert 4 * layers + depth * modules + 128 == count.without_embeddings


@pytest.mark.parametrize("option", [("--vocab-size", "0"), ("--sequence-length", "-5")])
def test_sizes_are_positive(option: tuple[str, str]) -> None:
    done = told("model", "tiny_llama3", *option)
    assert done.exit_code == 2
    assert f"Invalid value for '{option[0]}'" in done.output


def test_a_name_that_nothing_has() -> None:
    done = told("model", "llama9")
    assert done.exit_code == 1
    assert "no experiment 'llama9'" in done.output
    assert "models by name: hyena_1b, lfm2_1b" in done.output


def test_exports_that_are_not_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    out = str(tmp_path / "out")
    assert "--dtype fp64: known: fp32, bf16" in told("export", "tiny", out, "--dtype", "fp64").output
    assert "has no model 'tokenizer'" in told("export", "tiny", out, "--stage", "tokenizer").output
    assert "tiny has no pretrained_model for its current settings" in told("export", "tiny", out).output
    assert "config.json: there is no such file" in told("import-model", str(tmp_path), out).output
