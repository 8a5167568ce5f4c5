"""Training settings in whole runs: each learns, resumes bit by bit, and can be split in any way."""

import math

import pytest

from llm_core.experiment.guards import GuardsSpec
from llm_core.experiment.training import BatchPhase, SuperpositionSpec
from llm_core.model.superposition import bag_size
from llm_core.tokens.batch_sizes import tokens_before
from tests.train.ranks import on_ranks
from tests.train.runs import model_spec, records, run, trainer_spec, weights
from tests.train.test_loop import StopAfter, losses
from tests.train.test_ranks import go_on

GROWING = (BatchPhase(from_step=0, batch_tokens=128), BatchPhase(from_step=4, batch_tokens=256))
SETTINGS = {
    "adamw": {"optimizer": {"kind": "adamw", "lr": 0.01}},
    "muon": {"optimizer": {"kind": "muon", "lr": 0.01, "lr_ratio": 2}},
    "linear": {"schedule": {"kind": "linear", "warmup_steps": 2}},
    "growing batches": {"batch_schedule": GROWING},
    "superposition": {"superposition": SuperpositionSpec(tokens=4, steps=5)},
    "z-loss and clamp": {"z_loss": 1e-3, "loss_clamp": 6.3},
}


@pytest.fixture
def share_shards(tmp_path):
    return lambda name, **changes: trainer_spec(
        tmp_path, work=tmp_path / name, model=model_spec(document_mask=True), steps=12, **changes
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_a_stopped_run_goes_on_bitwise(share_shards, name):
    straight, stopped = (share_shards(folder, training=SETTINGS[name]) for folder in ("straight", "stopped"))
    run(straight)
    for steps in (3, 3):
        run(stopped, StopAfter(steps))
    run(stopped)
    assert weights(stopped) == weights(straight)
    assert losses(stopped) == losses(straight)
    assert losses(straight)[-1] < losses(straight)[0] - 0.1


@pytest.mark.parametrize("name", SETTINGS)
def test_micro_batches_change_nothing_but_rounding(share_shards, name):
    whole, parts = (share_shards(str(size), training=SETTINGS[name], micro_batch=size) for size in (8, 3))
    run(whole)
    run(parts)
    assert losses(parts) == pytest.approx(losses(whole), abs=2e-3 if name == "muon" else 1e-4)


def test_two_ranks_agree_with_one(share_shards):
    both = {**SETTINGS["muon"], **SETTINGS["superposition"]}
    one, two = (share_shards(folder, training=both) for folder in ("one", "two"))
    run(one)
    two.work.mkdir()
    assert on_ranks(2, go_on, two, 99) == [two.training.steps] * 2
    assert losses(two) == pytest.approx(losses(one), abs=2e-3)


def test_batches_that_grow_are_counted_in_tokens(share_shards):
    spec = share_shards("work", training=SETTINGS["growing batches"])
    run(spec)
    assert spec.training.steps == 4 + (12 * 256 - 4 * 128) // 256
    found = [record["tokens"] for record in records(spec)]
    assert found == [tokens_before(spec.training, step + 1) for step in range(spec.training.steps)]
    assert found[3:5] == [512, 768]


def test_superposition_ends_in_ordinary_training(share_shards):
    spec = share_shards("work", training=SETTINGS["superposition"])
    run(spec)
    assert [bag_size(spec.training, step) for step in (4, 5)] == [4, 1]
    assert losses(spec)[0] == pytest.approx(math.log(300), abs=0.1)
    assert {record["tokens"] for record in records(spec)} == {256 * step for step in range(1, 13)}


def test_losses_of_single_tokens_are_not_judged_by_those_of_bags(share_shards):
    guards = GuardsSpec(spike_sigma=1e-3, spike_window=8)  # every judged step is a spike
    bags = {"superposition": SuperpositionSpec(tokens=4, steps=4), "guards": guards}
    spec = share_shards("work", training=bags)
    run(spec)
    skipped = [record["skipped"] for record in records(spec)]
    assert not any(skipped[:8])  # four of each kind: judging starts when half a window is full
    plain = share_shards("plain", training={"guards": guards})
    run(plain)
    assert any(record["skipped"] for record in records(plain)[4:8])


def test_what_training_asks_of_the_loss_reaches_it(share_shards):
    plain, stabilised = (
        share_shards(folder, training=training) for folder, training in (("plain", {}), ("stable", {"z_loss": 1e-2}))
    )
    run(plain)
    run(stabilised)
    assert losses(plain)[0] == losses(stabilised)[0]  # metrics report the cross-entropy
    assert losses(plain)[1] != losses(stabilised)[1]
    low = plain.training.model_copy(update={"loss_clamp": 1.0})  # below every loss: there are no gradients
    clamped = plain.model_copy(update={"training": low, "work": plain.work.with_name("clamped")})
    run(clamped)
    assert {record["grad_norm"] for record in records(clamped)} == {0.0}
