"""Guards on two ranks see the same metrics at the same point, and decide alike."""

import json
import math
from typing import Literal

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.callbacks import CallbackSpec
from llm_core.experiment.guards import GuardsSpec
from llm_core.experiment.runtime import TrackingSpec
from llm_core.registries import CALLBACKS
from llm_core.train.callbacks.base import Callback
from llm_core.train.interruption import StopRequest
from llm_core.train.loop import train
from tests.train.callbacks.test_leak_probe import leaky
from tests.train.planted import plant
from tests.train.ranks import on_ranks
from tests.train.runs import model_spec, records, run, trainer_spec

BACK = GuardsSpec(spike_sigma=8, spike_window=8, spike_action="rollback", rollback_steps=3)
FACTORS = {5: math.nan, 12: 100.0}


def with_bad_batches(world, spec):
    with pytest.MonkeyPatch.context() as patch:
        plant(patch, spec, FACTORS)
        return train(spec, world, StopRequest(), lambda line: None).skipped


def on_a_leak(world, spec):
    with pytest.MonkeyPatch.context() as patch:
        leaky(patch, lambda ids_BT: ids_BT * 0 if world.rank == 1 else ids_BT)
        try:
            train(spec, world, StopRequest(), lambda line: None)
        except PedigreeError as error:
            return str(error)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_bad_batches_are_skipped_and_rolled_back_as_on_one(tmp_path, monkeypatch, parallel):
    changes = {"training": {"guards": BACK}, "model": model_spec(document_mask=True), "micro_batch": 2}
    one = trainer_spec(tmp_path, 15, work=tmp_path / "one", **changes)
    seen = TrackingSpec(callbacks={"samples": {"every": 10}})
    two = trainer_spec(tmp_path, 15, work=tmp_path / "two", parallel=parallel, tracking=seen, **changes)
    two.work.mkdir()
    with monkeypatch.context() as patch:
        plant(patch, one, FACTORS)
        assert run(one).skipped == 4
    assert on_ranks(2, with_bad_batches, two) == [4, 4]
    assert [r.get("reason") for r in records(two)] == [r.get("reason") for r in records(one)]
    losses = [[r["loss"] for r in records(spec) if not r["skipped"]] for spec in (one, two)]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    ours, theirs = ([json.loads(line) for line in (spec.work / "bad_batches.jsonl").open()] for spec in (two, one))
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == [5, 12]
    worst = [{s["sequence"]: s["loss"] for s in line["sequences"]} for line in (ours[1], theirs[1])]
    assert worst[0] == pytest.approx(worst[1], abs=1e-3)


def test_a_leak_that_one_rank_sees_stops_both_with_its_words(tmp_path):
    spec = trainer_spec(tmp_path, model=model_spec(document_mask=True))
    spec.work.mkdir()
    first, second = on_ranks(2, on_a_leak, spec)
    assert first == second
    assert "of rank 1): position" in first


class Looks(CallbackSpec):
    """Runs the model, and changes a weight after step ``change``."""

    kind: Literal["looks"] = "looks"
    change: int = 0
    """The step."""

    def build(self) -> Callback:
        def after_step(run):
            with torch.no_grad():
                run.model(torch.zeros(1, 8, dtype=torch.long))
                if run.progress.step == self.change:
                    run.optimizer.param_groups[0]["params"][0].mul_(1.01)
            return {}

        callback = Callback()
        callback.after_step = after_step
        return callback


def watched_on_ranks(world, spec, change):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CALLBACKS._targets, "looks", f"{__name__}:Looks")
        patch.setitem(CALLBACKS._plugins, "looks", "of_somebody")
        tracking = TrackingSpec(callbacks={"looks": {"change": change}})
        try:
            return train(spec.model_copy(update={"tracking": tracking}), world, StopRequest(), lambda line: None).step
        except PedigreeError as error:
            return str(error)


def test_a_callback_of_a_plugin_may_look_at_sharded_weights_and_not_change_them(tmp_path):
    for change in (0, 2):
        spec = trainer_spec(tmp_path, 3, work=tmp_path / str(change), parallel="fsdp2")
        spec.work.mkdir()
        found = on_ranks(2, watched_on_ranks, spec, change)
        if not change:
            assert found == [3, 3]
    assert found[0].startswith(f"the callback looks ({__name__}:Looks) changes the weight of ")
