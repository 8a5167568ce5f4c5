"""Validation does not change the model."""

import json

import pytest

from llm_core.experiment.base import canonical
from llm_core.model.build import build_model
from llm_core.model.feed_forwards.moe.spec import MixtureOfExperts
from llm_core.store.store import content_digest
from llm_core.tokens.reader import ShardReader
from llm_core.train.results import TrainingResults
from llm_core.train.spec import result_fields
from llm_core.train.training_run import training_stats
from llm_core.train.validation import measure
from tests.train.runs import ALONE, model_spec, records, run, trainer_spec, training_spec, weights
from tests.train.test_loop import StopAfter

OTHERS = {"validate_every": 1, "validation_tokens": 100}


@pytest.mark.parametrize("model", [{}, {"dropout": 0.2}])
def test_how_often_and_on_what_a_run_is_validated_changes_no_weight(tmp_path, model):
    one = trainer_spec(tmp_path, 12, model=model_spec(**model), work=tmp_path / "one")
    often = trainer_spec(tmp_path, 12, model=model_spec(**model), work=tmp_path / "often", training=OTHERS)
    run(one)
    run(often)
    assert weights(one) == weights(often)
    measured = [[line["step"] for line in records(spec) if "validation_loss" in line] for spec in (one, often)]
    assert measured == [[5, 10, 12], list(range(1, 13))]
    ours, theirs = (training_stats(records(spec)) for spec in (one, often))
    assert ours["final_validation_loss"] != theirs["final_validation_loss"]
    assert ours["curve"] == theirs["curve"]


def test_experts_that_are_validated_count_no_more_assignments(tmp_path):
    experts = {"feed_forward": MixtureOfExperts(experts=4, top_k=2, d_ff=16, bias_rate=0.1)}
    one, often = (
        trainer_spec(tmp_path, 6, model=model_spec(**experts), work=tmp_path / name, training=training)
        for name, training in (("one", {}), ("often", OTHERS))
    )
    run(one)
    run(often)
    assert weights(one) == weights(often)


def test_a_run_goes_on_from_its_checkpoint_with_other_validation(tmp_path):
    whole = trainer_spec(tmp_path, 12, work=tmp_path / "whole")
    run(whole)
    run(trainer_spec(tmp_path, 12), StopAfter(6))
    other = trainer_spec(tmp_path, 12, training=OTHERS)
    run(other)
    assert weights(other) == weights(whole)


def test_validation_is_outside_identity_and_ownership(tmp_path):
    spec, other = training_spec(10), training_spec(10, **OTHERS)
    assert canonical(spec) == canonical(other)
    assert not any("validat" in name for name in result_fields(trainer_spec(tmp_path)))
    assert canonical(spec) != canonical(training_spec(10, schedule={"warmup_steps": 1}))


def test_what_validation_measured_is_no_part_of_the_content():
    stats = {"final_loss": 2.0, "curve": "c"}
    measured = {"final_validation_loss": 2.5, "start_validation_loss": 3.0, "validation_tokens": 512}
    volatile = TrainingResults.volatile()
    assert content_digest([], stats, volatile) == content_digest([], {**stats, **measured}, volatile)


@pytest.mark.parametrize("tokens", [32, 96, 160, 1024])
def test_every_look_has_rows_of_one_shape(tmp_path, tokens):
    spec = trainer_spec(tmp_path, training={"validation_tokens": tokens}, micro_batch=4)
    heldout, model = ShardReader(spec.shards, "heldout"), build_model(spec.model, spec.vocab_size)
    shapes = []
    model.register_forward_pre_hook(lambda _, inputs: shapes.append(tuple(inputs[0].shape)))
    loss = measure(model, heldout, spec, ALONE).loss
    assert set(shapes) == {(4, 32)}
    alone = measure(model, heldout, spec.model_copy(update={"micro_batch": 1}), ALONE).loss
    assert float(loss) == pytest.approx(float(alone), abs=1e-5)


def test_the_best_checkpoints_change_no_weight(tmp_path):
    from llm_core.experiment.runtime import KeepSpec

    plain = trainer_spec(tmp_path, 12, work=tmp_path / "plain")
    run(plain)
    best = trainer_spec(tmp_path, 12, training={**OTHERS}, keep=KeepSpec(last=1, best=2), work=tmp_path / "best")
    run(best)
    assert weights(plain) == weights(best)
    assert json.loads(json.dumps(result_fields(plain))) == json.loads(json.dumps(result_fields(best)))
