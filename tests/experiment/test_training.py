from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.base import canonical
from llm_core.experiment.guards import GuardsSpec
from llm_core.experiment.load import load_experiment
from llm_core.train.spec import TrainerSpec, result_fields
from tests.train.runs import trainer_spec

MODEL = (
    "model: {d_model: 64, n_layers: 2, mixer: {kind: attention, n_heads: 4, n_kv_heads: 2}, "
    "feed_forward: {kind: swiglu, d_ff: 128}}\n"
)


SOURCES = "raw: {sources: [{kind: files, name: web, paths: [a]}, {kind: files, name: books, paths: [b]}]}\n"


def load(folder: Path, training: str):
    path = folder / "small.yaml"
    path.write_text(
        f"{MODEL}{SOURCES}training: {{sequence_length: 256, batch_tokens: 1024, tokens: 100_000, {training}}}\n"
    )
    return load_experiment(path).training


def test_packing_mixture_and_schedule_are_read(tmp_path: Path) -> None:
    training = load(tmp_path, "packing: pad, mixture: {weights: {web: 3, books: 0.5}, max_epochs: 2}")
    assert training.packing == "pad"
    assert training.mixture is not None
    assert (training.mixture.weights, training.mixture.max_epochs) == ({"web": 3.0, "books": 0.5}, 2.0)
    phases = "[{from_step: 0, sequence_length: 64}, {from_step: 50, sequence_length: 256}]"
    scheduled = load(tmp_path, f"sequence_schedule: {phases}")
    assert [(phase.from_step, phase.sequence_length) for phase in scheduled.sequence_schedule] == [(0, 64), (50, 256)]
    assert scheduled.batch_size == 4


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ("packing: tight", r"training\.packing: .*unknown packing 'tight'; known: best_fit, concat, pad"),
        (
            "precision: fp8, superposition: {tokens: 32, steps: 9}",
            r"by sixteens in bags of 32: \[256\] must be multiples of 512",
        ),
        ("precision: fp8", r"training\.precision fp8 needs compute\.compile: true: .* set that, or precision to bf16"),
        ("mixture: {weights: {}}", r"training\.mixture\.weights: "),
        ("mixture: {weights: {web: 0}}", r"training\.mixture\.weights\.web: "),
        ("mixture: {weights: {web: 1}, max_epochs: 0}", r"training\.mixture\.max_epochs: "),
        (
            "mixture: {weights: {web: 1, blogs: 1}}",
            r"training\.mixture\.weights: no source in raw\.sources is called blogs; known: books, web",
        ),
        ("sequence_schedule: [{from_step: 5, sequence_length: 256}]", r"must begin at 0 and rise, and is \[5\]"),
        (
            "sequence_schedule: [{from_step: 0, sequence_length: 64}, {from_step: 0, sequence_length: 256}]",
            r"must begin at 0 and rise, and is \[0, 0\]",
        ),
        (
            "sequence_schedule: [{from_step: 0, sequence_length: 100}, {from_step: 9, sequence_length: 256}]",
            "all must divide it",
        ),
        ("sequence_schedule: [{from_step: 0, sequence_length: 128}]", "the longest must be sequence_length 256"),
        (
            "packing: best_fit, sequence_schedule: [{from_step: 0, sequence_length: 256}]",
            "can't cut the sequences of packing 'best_fit' into shorter ones; use packing: concat, or leave",
        ),
        ("optimizer: {steps: 6}", r"training\.optimizer: adamw: steps: there is no such key"),
        ("optimizer: {kind: muon, lr: 0.1, adjust: often}", r"training\.optimizer: muon: adjust: "),
        ("batch_schedule: [{from_step: 0, batch_tokens: 512}]", "the largest must be batch_tokens 1024"),
        (
            "batch_schedule: [{from_step: 0, batch_tokens: 500}, {from_step: 9, batch_tokens: 1024}]",
            r"\[500, 1024\].* multiples of sequence_length 256",
        ),
        ("batch_schedule: [{from_step: 1, batch_tokens: 1024}]", r"batch_schedule: from_step must begin at 0"),
        (
            "sequence_schedule: [{from_step: 0, sequence_length: 64}, {from_step: 97, sequence_length: 256}]",
            r"training\.sequence_schedule: the phase from step 97 never begins: the run has 97 steps",
        ),
        (
            "batch_schedule: [{from_step: 0, batch_tokens: 512}, {from_step: 500, batch_tokens: 1024}]",
            r"training\.batch_schedule: the phase from step 500 never begins: the run has 195 steps",
        ),
        ("loss_clamp: 8.81", r"training\.loss_clamp 8.81: .* loss of about 8\.32 .*4096 entries.* more than 8\.82"),
        (
            "schedule: {kind: constant, final_share: 0.5}",
            r"training\.schedule: constant: final_share: there is no such",
        ),
        ("schedule: {kind: linear}, branch_points: [9]", "branches leave a rate that stays, .* and not 'linear'"),
        ("guards: {rollback_steps: 64}", r"guards: rollback_steps 64 does nothing without spike_action 'rollback'"),
        ("guards: {spike_sigma: 6, max_rollbacks: 9}", r"max_rollbacks 9 does nothing without spike_action 'rollback'"),
        (
            "optimizer: {kind: adamw, groups: {tables: {lr_ratio: 2.0}}}",
            r"training\.optimizer: adamw: groups\.tables: unknown kind of parameters; known: matrices, embeddings",
        ),
        ("guards: {spike_window: 64}", r"guards: spike_window 64 does nothing without spike_sigma"),
    ],
)
def test_contradictions_are_named(tmp_path: Path, training: str, message: str) -> None:
    with pytest.raises(PedigreeError, match=message):
        load(tmp_path, training)


def test_settings_of_muon_and_growing_batches_are_read(tmp_path: Path) -> None:
    training = load(tmp_path, "optimizer: {kind: muon, lr: 0.1, momentum: 0.9, adjust: original, lr_ratio: 30}")
    assert (training.optimizer.momentum, training.optimizer.steps) == (0.9, 5)
    phases = "[{from_step: 0, batch_tokens: 512}, {from_step: 90, batch_tokens: 1024}]"
    assert load(tmp_path, f"batch_schedule: {phases}").steps == 142


def test_a_clamp_is_judged_by_what_a_run_begins_with(tmp_path: Path) -> None:
    assert load(tmp_path, "loss_clamp: 8.82").loss_clamp == 8.82
    spec = trainer_spec(tmp_path, training={"loss_clamp": 6.3})  # 300 entries: 5.70
    low = {**spec.model_dump(), "training": {**spec.training.model_dump(), "loss_clamp": 6.2}}
    with pytest.raises(ValueError, match=r"training\.loss_clamp 6\.2: .* more than 6\.21"):
        TrainerSpec.model_validate(low, strict=False)
    TrainerSpec.model_validate({**low, "start": tmp_path}, strict=False)  # a trained model may have a lower one


def test_a_stopped_run_goes_on_when_what_stopped_it_is_raised(tmp_path: Path) -> None:
    """A checkpoint belongs to all runs whose ``result_fields`` are the same."""

    def fields(bad_steps: int, sigma: float = 6.0, **guards: int) -> tuple[object, object]:
        section = GuardsSpec(spike_sigma=sigma, spike_action="rollback", **guards)
        spec = trainer_spec(tmp_path, training={"max_bad_steps": bad_steps, "guards": section})
        return result_fields(spec), canonical(spec.training)

    assert fields(20, max_rollbacks=5) == fields(200, max_rollbacks=50)
    assert fields(20) != fields(20, sigma=8.0)


def test_the_fields_that_came_later_change_no_identity(tmp_path: Path) -> None:
    training = load(tmp_path, "validate_every: 50")
    assert not {"batch_schedule", "guards"} & canonical(training).keys()
    assert not {"muon"} & canonical(training.optimizer).keys()
