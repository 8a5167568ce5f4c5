"""Relative paths start at the YAML file in which they stand."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from llm_core.errors import PedigreeError
from llm_core.experiment.load import load_experiment
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.paths import YamlPath
from llm_core.model.norms.spec import RMSNorm
from llm_core.registries import NORMS

MODEL = "{d_model: 64, n_layers: 2, mixer: {kind: attention, n_heads: 4}, feed_forward: {kind: relu, d_ff: 128}}"
TRAINING = "{batch_tokens: 1024, tokens: 100_000, optimizer: {lr: 3e-3}}"
MINIMAL = f"model: {MODEL}\ntraining: {TRAINING}\n"
HUB = "kind: hugging_face, repo: a/b, revision: c, files: [d]"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def both(tmp_path: Path, below: str, above: str = "") -> object:
    """An experiment in ``above/`` that extends one in ``below/``."""
    write(tmp_path / "below" / "base.yaml", MINIMAL + below)
    return load_experiment(write(tmp_path / "above" / "mine.yaml", f"extends: ../below/base\n{above}"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("raw: {sources: [{kind: files, paths: [PATH]}]}", lambda one: one.raw.sources[0].paths[0]),
        (f"raw: {{sources: [{{{HUB}, local_folder: PATH}}]}}", lambda one: one.raw.sources[0].local_folder),
        ("quality: {good: {paths: [PATH]}, min_score: 0.5}", lambda one: one.quality.good.paths[0]),
        ("quality: {labelled: {path: PATH, min_label: 1}, min_score: 0.5}", lambda one: one.quality.labelled.path),
        ("cleaning: {blocked_urls: {path: PATH}}", lambda one: one.cleaning.blocked_urls.path),
        ("cleaning: {preset: c4, blocked_words: {path: PATH}}", lambda one: one.cleaning.blocked_words.path),
        ("tokenizer: {kind: imported, imported: {file: PATH}}", lambda one: one.tokenizer.imported.file),
        ("tokenizer: {compare: {other: {file: PATH}}}", lambda one: one.tokenizer.compare["other"].file),
        ("evaluation: {suites: [{kind: perplexity, name: a, path: PATH}]}", lambda one: one.evaluation.suites[0].path),
    ],
)
def test_each_starts_at_its_own_file(tmp_path, text, found):
    assert found(both(tmp_path, text.replace("PATH", "a/b.txt"))) == f"{tmp_path}/below/a/b.txt"
    assert found(both(tmp_path, "", text.replace("PATH", "a/b.txt"))) == f"{tmp_path}/above/a/b.txt"
    assert found(both(tmp_path, text.replace("PATH", "/a/b.txt"))) == "/a/b.txt"


def test_settings_of_two_files_in_one_section_keep_their_folders(tmp_path):
    cleaning = both(
        tmp_path, "cleaning: {blocked_urls: {path: list}}", "cleaning: {blocked_words: {path: list}}"
    ).cleaning
    assert cleaning.blocked_urls.path == f"{tmp_path}/below/list"
    assert cleaning.blocked_words.path == f"{tmp_path}/above/list"


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path):
    text = MINIMAL + "raw: {sources: [{kind: files, paths: ['*.txt']}]}\ntokenizer: {compare: {a: {file: b.json}}}\n"
    one = load_experiment(write(tmp_path / "run[1]*" / "mine.yaml", text))
    assert one.raw.sources[0].paths == (f"{tmp_path}/run[[]1][*]/*.txt",)
    assert one.tokenizer.compare["a"].file == f"{tmp_path}/run[1]*/b.json"


def test_a_home_folder_is_no_relative_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    one = both(tmp_path, "raw: {sources: [{kind: files, paths: ['~/*.txt']}]}\ncleaning: {blocked_urls: {path: ~/a}}\n")
    assert one.raw.sources[0].paths == ("~/*.txt",)  # written out when the files are looked for
    assert one.cleaning.blocked_urls.path == "/home/me/a"
    with pytest.raises(PedigreeError, match=r"mine\.yaml: cleaning\.blocked_urls\.path: .*; write the folder out"):
        both(tmp_path, "cleaning: {blocked_urls: {path: ~nobody_here/a}}\n")


@pytest.mark.parametrize(
    "text", ["cleaning: {blocked_urls: {path: ''}}", "raw: {sources: [{kind: files, paths: ['']}]}"]
)
def test_an_empty_path_is_no_folder(tmp_path, text):
    with pytest.raises(PedigreeError, match="should have at least 1 character"):
        both(tmp_path, text)


class TableNorm(RMSNorm):
    """A component from outside, whose settings hold a path, alone and in a list."""

    kind: Literal["table"] = "table"  # type: ignore[assignment]
    table: YamlPath
    more: tuple[YamlPath, ...] = Field(default=())


@pytest.fixture
def _table_norm(monkeypatch):
    monkeypatch.setattr(NORMS, "_targets", {**NORMS._targets, "table": f"{__name__}:TableNorm"})


@pytest.mark.usefixtures("_table_norm")
def test_components_from_outside(tmp_path):
    model = f"model: {MODEL[:-1]}, norm: {{kind: table, table: a, more: [b]}}}}\n"
    write(tmp_path / "below" / "base.yaml", f"{model}training: {TRAINING}\n")
    study = "sizes: [{width: 16, ideas: true}], tokens: [2048], gate: null, ideas: {other: {norm: {table: c}}}"
    above = f"extends: below/base\nmodel: {{norm: {{table: d}}}}\ntraining: {{schedule: wsd}}\nstudy: {{{study}}}\n"
    one = load_experiment(write(tmp_path / "mine.yaml", above))
    assert (one.model.norm.table, one.model.norm.more) == (f"{tmp_path}/d", (f"{tmp_path}/below/b",))
    norm = one.study.changed("other", one.model, one.training)[0].norm
    assert (norm.table, norm.more) == (f"{tmp_path}/c", (f"{tmp_path}/below/b",))


@pytest.mark.usefixtures("_table_norm")
def test_an_entry_of_the_pattern_of_layers(tmp_path):
    entries = "[{times: 2}, {norm: {kind: table, table: a, more: [b, /c]}, mixer: {window: 4}}]"
    text = f"model: {MODEL[:-1].replace('n_layers: 2', 'n_layers: 6')}, pattern: {entries}}}\ntraining: {TRAINING}\n"
    model = load_experiment(write(tmp_path / "mine.yaml", text)).model
    for found in (model, ModelSpec.model_validate_json(model.model_dump_json())):
        norms = [layer.norm for layer in found.layers]
        assert [norm.kind for norm in norms] == ["rmsnorm", "rmsnorm", "table"] * 2
        assert (norms[2].table, norms[5].more) == (f"{tmp_path}/a", (f"{tmp_path}/b", "/c"))
        assert found.layers[5].mixer.window == 4
