"""The checks between a study and the rest of the experiment."""

from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.load import load_experiment

SIZES = "{width: 32, ideas: true}, {width: 48}"


def load(
    folder: Path,
    ideas: str = "{}",
    training: str = "{}",
    compute: str = "{}",
    sizes: str = SIZES,
    schedule: str = "wsd",
    own_compute: str = "{}",
) -> Experiment:
    path = folder / "small.yaml"
    path.write_text(f"""
model:
  d_model: 64
  n_layers: 2
  mixer: {{kind: attention, n_heads: 4, n_kv_heads: 2}}
  feed_forward: {{kind: swiglu, d_ff: 128}}
raw: {{sources: [{{kind: files, name: web, paths: [a]}}]}}
training: {{sequence_length: 256, batch_tokens: 1024, tokens: 10_000, schedule: {schedule}}}
compute: {compute}
study: {{sizes: [{sizes}], tokens: [5000], gate: null, training: {training}, ideas: {ideas}, compute: {own_compute}}}
""")
    return load_experiment(path)


def test_the_runs_of_all_sizes_and_ideas_are_known(tmp_path: Path) -> None:
    found = load(tmp_path, "{wide: {feed_forward: {d_ff: 256}, training: {z_loss: 1e-4}}}", "{batch_tokens: 512}")
    assert found.study is not None
    runs = found.study.recipes(found.model, found.training)
    assert list(runs) == ["study: width 32: ", "study.ideas.wide: width 32: ", "study: width 48: "]
    model, training = runs["study.ideas.wide: width 32: "]
    assert (model.d_model, model.feed_forward.d_ff) == (32, 128)  # type: ignore[union-attr]
    assert (training.z_loss, training.batch_tokens) == (1e-4, 512)
    assert runs["study: width 48: "][1].optimizer.lr == pytest.approx(found.training.optimizer.lr * 64 / 48)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ideas": "{v: {mixer: {window: 257}}}"}, r"study\.ideas\.v: width 32: model: the window of layer 0 is 257"),
        (
            {"ideas": "{v: {training: {mixture: {weights: {blogs: 1}}}}}"},
            r"study\.ideas\.v: width 32: training\.mixture\.weights: no source .* blogs",
        ),
        (
            {"ideas": "{v: {training: {loss_clamp: 8.0}}}"},
            r"study\.ideas\.v: width 32: training\.loss_clamp 8\.0: .* more than 8\.82",
        ),
        (
            {"training": "{precision: fp8}"},
            r"study: width 32: training\.precision fp8 needs compute\.compile: true",
        ),
        ({"training": "{precision: fp8, sequence_length: 8}"}, r"study: width 32: study\.training: .*multiples of 16"),
        (
            {"training": "{validate_every: 70}", "compute": "{checkpoint_every: 100, keep: {best: 1}}"},
            r"checkpoint_every 100 a multiple of study: width 32: training\.validate_every 70",
        ),
        (
            {"own_compute": "{checkpoint_every: 70, keep: {best: 1}}"},
            r"checkpoint_every 70 a multiple of study: width 32: training\.validate_every 50",
        ),
        ({"own_compute": "{micro_batch: 0}"}, r"study\.compute\.micro_batch: .*greater than or equal to 1"),
        ({"training": "{optimizer: {kid: muon}}"}, r"study: width 32: study\.training: adamw: kid: "),
        ({"training": "{optimizer: muon}"}, r"study: width 32: study\.training: muon: lr: "),
        ({"ideas": "{odd: {mixer: {n_heads: 5}}}"}, r"study\.ideas\.odd: d_model 64 must be a multiple of n_heads 5"),
        ({"ideas": "{odd: {training: 3}}"}, r"study\.ideas\.odd: training: give fields .*\(it is 3\)"),
        ({"ideas": "{odd: {seed: 3}}"}, r"ideas\.odd: seed: an idea changes fields of the model, .* training"),
        ({"sizes": "{width: 64}"}, r"study: width 64: width 64 is not below the model's d_model 64"),
        ({"schedule": "cosine"}, r"study: width 32: trunks have a constant rate, so the schedule must be wsd"),
        (
            {"ideas": "{v: {training: {schedule: cosine}}}"},
            r"study\.ideas\.v: width 32: trunks have a constant rate, .* must be wsd, and not cosine",
        ),
    ],
)
def test_the_runs_of_a_study_are_examined_as_any_other(tmp_path: Path, fields: dict[str, str], message: str) -> None:
    with pytest.raises(PedigreeError, match=rf"small\.yaml: .*{message}"):
        load(tmp_path, **fields)


def test_runs_without_the_launched_schedule_need_one_of_their_own(tmp_path: Path) -> None:
    found = load(tmp_path, training="{schedule: wsd}", schedule="cosine")
    assert found.training.schedule.kind == "cosine"


def test_the_runs_are_examined_with_the_compute_of_the_study(tmp_path: Path) -> None:
    assert load(tmp_path, training="{precision: fp8}", own_compute="{compile: true}").study is not None


def test_a_section_that_study_replaces_is_told_first(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text("proxies: {variants: {}}\nmodle: 3\n")
    with pytest.raises(PedigreeError, match=r"old\.yaml: proxies: the section study replaces it\..*variants are ideas"):
        load_experiment(path)
