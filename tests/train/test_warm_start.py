"""Runs that start from another run's state, or from a model's weights."""

from pathlib import Path

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.guards import GuardsSpec
from llm_core.model.build import build_model
from llm_core.model.files import load_model, save_model
from llm_core.model.positions.rope.spec import Rope, RopeScaling
from llm_core.train.warm_start import check_start
from tests.train.ranks import on_ranks
from tests.train.runs import VOCABULARY, checkpoint_steps, model_spec, records, run, trainer_spec, weights
from tests.train.test_loop import StopAfter, losses
from tests.train.test_ranks import go_on

TRUNK = {"schedule": {"kind": "wsd", "warmup_steps": 2}, "branch_points": (3, 6)}
COOLED = {"schedule": {"kind": "wsd", "warmup_steps": 2, "cooldown_steps": 4, "final_share": 0.1}}
STRAIGHT = {**COOLED, "guards": GuardsSpec(spike_sigma=50)}


@pytest.fixture
def share_shards(tmp_path):
    return lambda name, **changes: trainer_spec(tmp_path, work=tmp_path / name, **changes)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_a_branch_is_the_end_of_the_run_that_it_would_have_been(share_shards, kind):
    common = {"optimizer": {"kind": kind, "lr": 0.01}, "guards": GuardsSpec(spike_sigma=50)}
    trunk = share_shards("trunk", steps=9, training={**common, **TRUNK})
    run(trunk)
    assert {3, 6} < set(checkpoint_steps(trunk))  # in addition to the last ones
    straight = share_shards("straight", steps=10, training={**common, **COOLED})
    run(straight)
    start = trunk.work / "checkpoints" / "step_00000006"
    branch = share_shards("branch", steps=10, training={**common, **COOLED}, start=start)
    run(branch, StopAfter(2))
    assert run(branch).step == 10
    assert weights(branch) == weights(straight)
    assert losses(branch) == losses(straight)[6:]
    assert [record["step"] for record in records(branch)] == [7, 8, 9, 10]
    assert [record["tokens"] for record in records(branch)] == [record["tokens"] for record in records(straight)[6:]]
    assert [record["lr"] for record in records(branch)] == [record["lr"] for record in records(straight)[6:]]
    first, *others = records(branch)
    assert "start_validation_loss" in first
    assert not any("start_validation_loss" in record for record in others)
    # A trunk that was made in segments (a study that grew) leads to the same weights.
    for end, begin in ((5, trunk.work / "checkpoints" / "step_00000003"), (6, "segment_5")):
        begin = begin if isinstance(begin, Path) else trunk.work.parent / begin / "checkpoints" / "step_00000005"
        training = {**common, "schedule": {"kind": "wsd"}, "branch_points": (end,)}
        run(share_shards(f"segment_{end}", steps=end, training=training, start=begin))
    start = trunk.work.parent / "segment_6" / "checkpoints" / "step_00000006"
    late = share_shards("late", steps=10, training={**common, **COOLED}, start=start)
    run(late)
    assert weights(late) == weights(straight)


def test_a_branch_of_one_rank_begins_with_the_state_of_two(share_shards):
    trunk = share_shards("trunk", steps=6, training=TRUNK, parallel="fsdp2")
    trunk.work.mkdir()
    assert on_ranks(2, go_on, trunk, 99) == [6] * 2
    straight = share_shards("straight", steps=10, training=COOLED)
    run(straight)
    start = trunk.work / "checkpoints" / "step_00000006"
    branch = share_shards("branch", steps=10, training=COOLED, start=start)
    run(branch)
    assert losses(branch) == pytest.approx(losses(straight)[6:], abs=1e-4)


def test_a_longer_context_begins_with_a_models_weights_and_nothing_else(share_shards):
    pretrained = share_shards("pretrained", steps=20)
    run(pretrained)
    far = Rope(scaling=RopeScaling(kind="linear", factor=2, original_length=32))
    start = pretrained.work / "final"
    longer = {"sequence_length": 64, "validate_every": 2}
    plain = share_shards("plain", steps=2, training=longer, start=start)
    stretched = model_spec(mixer={"position": far.model_dump()})
    scaled = share_shards("scaled", steps=2, training=longer, start=start, model=stretched)
    same = share_shards("same", steps=2, start=start)
    for spec in (plain, scaled, same):
        run(spec)
    assert [record["step"] for record in records(plain)] == [1, 2]
    before = {spec.work.name: records(spec)[0]["start_validation_loss"] for spec in (plain, scaled, same)}
    assert before["same"] == pytest.approx(records(pretrained)[-1]["validation_loss"], abs=1e-4)
    assert len(set(before.values())) == 3
    assert records(scaled)[-1]["validation_loss"] < before["scaled"]
    assert load_model(scaled.work / "final")[0].spec.mixer.position == far


ALTERNATING = {"pattern": ({}, {"mixer": {"window": 8}})}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 0.1, "mixer": {"dropout": 0.2}}, None),
        ({"mixer": {"position": {"kind": "rope", "theta": 5e5}}}, None),
        ({"pattern": ({}, {"mixer": {"window": 8, "position": {"kind": "rope", "theta": 5e5}}})}, None),
        ({"mixer": {"n_kv_heads": 1}}, r"layers\.0\.mixer\.n_kv_heads is 2 in that folder, but 1 in this run"),
        (
            {"mixer": {"position": "alibi"}},
            r"layers\.0\.mixer\.position\.kind is 'rope' in that folder, but 'alibi' in this run",
        ),
        (
            {"pattern": ({}, {"mixer": {"window": 9}})},
            r"layers\.1\.mixer\.window is 8 in that folder, but 9 in this run",
        ),
        ({"pattern": ()}, r"layers\.1\.mixer\.window is 8 in that folder, but None in this run"),
        (
            {"feed_forward": {"kind": "relu", "d_ff": 64}},
            r"feed_forward\.kind is 'swiglu' in that folder, but 'relu' in this run",
        ),
        ({"norm": "layernorm"}, r"layers\.0\.norm\.kind is 'rmsnorm' in that folder, but 'layernorm' in this run"),
        (
            {"absolute_position": "sinusoidal"},
            r"absolute_position\.kind is None in that folder, but 'sinusoidal' in this run",
        ),
    ],
)
def test_which_other_model_may_begin_with_a_models_weights(share_shards, tmp_path, changes, message):
    there = model_spec(**ALTERNATING)
    save_model(build_model(there, VOCABULARY), there, VOCABULARY, tmp_path / "model")
    here = share_shards("here", model=model_spec(**{**ALTERNATING, **changes}), start=tmp_path / "model")
    if message is None:
        check_start(here)
    else:
        with pytest.raises(PedigreeError, match=message):
            check_start(here)


def test_a_run_that_goes_back_goes_back_to_its_start_at_most(share_shards):
    guards = GuardsSpec(spike_sigma=50, spike_action="rollback")
    trunk = share_shards("trunk", steps=6, training={**TRUNK, "guards": guards})
    run(trunk)
    start = trunk.work / "checkpoints" / "step_00000003"
    branch = share_shards("branch", steps=10, training={**COOLED, "guards": guards}, start=start, checkpoint_every=100)
    run(branch)
    assert checkpoint_steps(branch) == [3, 10]


def spoiled(folder):
    path = next(folder.glob("rank_*.safetensors"))
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0")


def test_what_a_run_cannot_begin_with_is_said_before_any_work(share_shards, tmp_path):
    trunk = share_shards("trunk", steps=6, training=TRUNK)
    run(trunk)
    start = trunk.work / "checkpoints" / "step_00000006"
    check_start(share_shards("a", steps=10, training=COOLED, start=start))
    for message, changes in (
        (
            r"model\.feed_forward\.d_ff is 64 in that folder, but 128 in this run",
            {"model": model_spec(feed_forward={"d_ff": 128})},
        ),
        ("vocab_size is 300 in that folder, but 301 in this run", {"vocab_size": 301}),
        ("seed is 7 in that folder, but 8 in this run", {"seed": 8}),
        (r"training\.batch_size is 8 in that folder", {"training": {**COOLED, "batch_tokens": 512, "tokens": 5120}}),
        ("its run did 6 steps, but this one ends after 6", {"steps": 6}),
        ("neither a checkpoint nor a model", {"start": tmp_path}),
    ):
        spec = share_shards("a", **{"steps": 10, "training": COOLED, "start": start, **changes})
        with pytest.raises(PedigreeError, match=message):
            run(spec)
    with pytest.raises(PedigreeError, match=r"d_model is 32 in that folder, but 16 in this run"):
        run(share_shards("a", model=model_spec(d_model=16), start=trunk.work / "final"))
    with pytest.raises(PedigreeError, match="vocab_size is 300 in that folder, but 310 in this run"):
        run(share_shards("a", vocab_size=310, start=trunk.work / "final"))
    spoiled(start)
    with pytest.raises(PedigreeError, match=r"step_00000006: the checkpoint is damaged"):
        run(share_shards("a", steps=10, training=COOLED, start=start))


def test_a_restart_does_not_begin_again(share_shards):
    pretrained = share_shards("pretrained", steps=4)
    run(pretrained)
    start = pretrained.work / "final"
    whole, parts = (share_shards(name, steps=6, start=start) for name in ("whole", "parts"))
    run(whole)
    run(parts, StopAfter(3))
    run(parts)
    assert weights(parts) == weights(whole)
    assert not torch.equal(load_model(whole.work / "final")[0].embedding.weight, load_model(start)[0].embedding.weight)
