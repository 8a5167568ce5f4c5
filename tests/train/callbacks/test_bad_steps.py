import json
import math

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.guards import GuardsSpec
from llm_core.experiment.runtime import KeepSpec
from llm_core.tokens.loader import open_loader
from llm_core.train.callbacks.spec import BAD_BATCHES
from llm_core.train.training_run import training_stats
from tests.judged import judged
from tests.train.planted import plant
from tests.train.runs import checkpoint_steps, records, run, trainer_spec, weights, write_shards
from tests.train.test_loop import StopAfter

SKIP = {"guards": GuardsSpec(spike_sigma=8, spike_window=8)}
BACK = {"guards": GuardsSpec(spike_sigma=8, spike_window=8, spike_action="rollback", rollback_steps=3)}


@pytest.fixture
def share_shards(tmp_path):
    write_shards(tmp_path / "shards")
    return lambda name, **changes: trainer_spec(tmp_path, 24, work=tmp_path / name, **changes)


def bad_batches(spec):
    return [json.loads(line) for line in (spec.work / BAD_BATCHES).read_text().splitlines()]


def reasons(spec):
    return {record["step"]: record["reason"] for record in records(spec) if record["skipped"]}


def test_a_batch_of_nan_is_skipped_and_its_documents_are_written_down(share_shards, monkeypatch):
    spec = share_shards("nan")
    plant(monkeypatch, spec, {10: math.nan})
    assert run(spec).skipped == 1
    assert reasons(spec) == {10: "the loss is not finite"}
    (line,) = bad_batches(spec)
    loader = open_loader(spec.shards, spec.training, spec.seed)
    assert (line["step"], line["action"], line["batch"]) == (10, "skipped", loader.digest(9))
    assert len(line["sequences"]) == 8
    pieces = {piece.sequence: piece for piece in loader.pieces(9)}
    for found in line["documents"]:
        assert (found["start"], found["tokens"]) == (pieces[found["sequence"]].start, 32)
        first, last = found["documents"]
        offsets = loader.readers[0].offsets
        assert offsets[first] <= found["start"] < offsets[first + 1]
        assert offsets[last] < found["start"] + 32 <= offsets[last + 1]


@pytest.mark.parametrize("how", ["loss", "gradient norm"])
def test_a_spike_is_skipped_by_what_the_steps_before_it_were(share_shards, monkeypatch, how):
    spec, clean = share_shards("spiked", training=SKIP), share_shards("clean", training=SKIP)
    plant(monkeypatch, spec, {15: 100.0} if how == "loss" else {}, {15: 1e4})
    run(spec)
    assert reasons(spec) == {15: f"the {how} is a spike"}
    assert bad_batches(spec)[0]["reason"] == f"the {how} is a spike"
    monkeypatch.undo()
    run(clean)
    assert [r["loss"] for r in records(clean)][:14] == [r["loss"] for r in records(spec)][:14]
    assert records(spec)[-1]["loss"] == pytest.approx(records(clean)[-1]["loss"], abs=0.3)


def test_a_run_goes_back_to_before_a_spike_and_on_without_its_batches(share_shards, monkeypatch):
    spec = share_shards("back", training=BACK, checkpoint_every=4)
    plant(monkeypatch, spec, {15: 100.0})
    lines = []
    progress = run(spec, log=lines.append)
    assert (progress.step, progress.skipped) == (24, 3)
    assert reasons(spec) == dict.fromkeys((13, 14, 15), "left out after a rollback")
    assert [record["step"] for record in records(spec)] == list(range(1, 25))
    assert {record["step"] for record in records(spec) if record["tokens_per_second"] is None} == {13, 14, 15}
    assert any("step 15 was a spike: resuming after step 12, without steps 13 to 15" in line for line in lines)
    (line,) = bad_batches(spec)
    assert (line["step"], line["action"], line["rollbacks"]) == (15, "rolled back", 0)


def test_a_run_goes_no_further_back_than_it_must(share_shards, monkeypatch):
    """With any number of kept checkpoints and any interval."""
    spec = share_shards("near", training=BACK, checkpoint_every=1, keep=KeepSpec(last=1))
    plant(monkeypatch, spec, {15: 100.0})
    lines = []
    run(spec, log=lines.append)
    assert any(line.startswith("resuming after step 12 ") for line in lines)
    assert checkpoint_steps(spec) == [0, 22, 23, 24]


@pytest.mark.parametrize(
    ("changes", "stops"),
    [
        ({"checkpoint_every": 5}, []),
        ({"checkpoint_every": 100}, []),
        ({"checkpoint_every": 4, "keep": KeepSpec(last=1)}, [13, 1, 1, 2]),
        ({"checkpoint_every": 2}, [14, 3]),
    ],
    ids=["other checkpoints", "none but the first", "stopped before it", "stopped after it"],
)
def test_where_checkpoints_were_changes_nothing_about_a_rollback(share_shards, monkeypatch, changes, stops):
    straight, other = share_shards("straight", training=BACK), share_shards("other", training=BACK, **changes)
    plant(monkeypatch, straight, {11: 100.0, 18: math.nan, 22: 100.0})
    run(straight)
    for steps in stops:
        run(other, StopAfter(steps))
    progress = run(other)
    assert progress.skipped == 7
    assert weights(other) == weights(straight)
    assert [line["loss"] for line in records(other)] == [line["loss"] for line in records(straight)]
    assert {line["step"]: line["action"] for line in bad_batches(other)} == {
        11: "rolled back",
        18: "skipped",
        22: "rolled back",
    }


def test_killed_while_it_goes_back_it_goes_back_again(share_shards, monkeypatch):
    straight, killed = share_shards("straight", training=BACK), share_shards("killed", training=BACK)
    plant(monkeypatch, straight, {15: 100.0})
    run(straight)

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("llm_core.train.loop._roll_back", die)
        with pytest.raises(KeyboardInterrupt):
            run(killed)
    assert checkpoint_steps(killed)[-1] == 12
    run(killed)
    assert weights(killed) == weights(straight)
    assert len(bad_batches(killed)) == 1


def test_a_run_that_goes_back_too_often_ends(share_shards, monkeypatch):
    guards = BACK["guards"].model_copy(update={"max_rollbacks": 1})
    spec = share_shards("often", training={"guards": guards})
    plant(monkeypatch, spec, {11: 100.0, 18: 100.0})
    with pytest.raises(
        PedigreeError, match=r"step 18: .* was already rolled back 1 times .*max_rollbacks.*bad_batches"
    ):
        run(spec)


@pytest.mark.parametrize(
    ("factors", "before", "after"),
    [
        ({9: math.nan, 10: math.nan, 11: math.nan}, {"max_bad_steps": 2}, {"max_bad_steps": 9}),
        ({11: 100.0, 18: 100.0}, {"max_rollbacks": 1}, {"max_rollbacks": 9}),
    ],
    ids=["bad steps", "rollbacks"],
)
def test_a_run_that_a_bound_stopped_goes_on_when_it_is_raised(share_shards, monkeypatch, factors, before, after):
    def training(bound):
        guards = BACK["guards"].model_copy(update=bound) if "max_rollbacks" in bound else GuardsSpec()
        return {"guards": guards, **({} if "max_rollbacks" in bound else bound)}

    straight, stopped = (
        share_shards(name, training=training(bound)) for name, bound in (("straight", after), ("stopped", before))
    )
    plant(monkeypatch, straight, factors)
    run(straight)
    with pytest.raises(
        PedigreeError, match=rf"To resume from the last checkpoint, raise training\.\S*{next(iter(after))};"
    ):
        run(stopped)
    lines = []
    assert run(share_shards("stopped", training=training(after)), log=lines.append).step == 24
    assert any(line.startswith("resuming after step") for line in lines)
    assert weights(stopped) == weights(straight)


def test_what_a_rollback_leaves_out_is_not_bad(share_shards, monkeypatch):
    spec = share_shards("back", training=BACK)
    plant(monkeypatch, spec, {15: 100.0, 20: math.nan})
    run(spec)
    stats = {**training_stats(records(spec)), "planned_tokens": 24 * 256}
    assert (stats["skipped_steps"], stats["left_out_steps"]) == (4, 3)
    found = {check.name: check for check in judged("pretrained_model", stats, max_bad_step_share=0.05)}
    assert found["bad_steps"].passed
    assert found["bad_steps"].value == 1 / 24
    assert found["bad_steps"].message.startswith("1 of 24 steps were skipped as bad, and 3 were left out after spikes")
    assert found["all_tokens_seen"].message == "6,144 of 6,144 tokens, except 3 batches that were left out"


def test_the_message_about_too_many_bad_steps_leads_to_the_documents(share_shards, monkeypatch):
    spec = share_shards("bad", training={"max_bad_steps": 2})
    plant(monkeypatch, spec, {5: math.inf, 6: math.inf})
    with pytest.raises(PedigreeError, match=r"sequence \d: train, tokens \d+ to \d+ \(its documents \d+ to \d+\)"):
        run(spec)
    assert [line["step"] for line in bad_batches(spec)] == [5, 6]
