import math

import numpy as np
import pytest
from torch.nn import functional

from llm_core.errors import PedigreeError
from llm_core.experiment.guards import GuardsSpec
from llm_core.tokens.loader import open_loader
from llm_core.tokens.reader import ShardReader
from llm_core.train import loop
from llm_core.train.callbacks import loss_floor
from llm_core.train.callbacks.loss_floor import compressed_nats, mixture_nats, steps_of_first_epoch
from tests.train.runs import records, run, trainer_spec, write_shards
from tests.train.test_loop import StopAfter

QUICK = {"guards": GuardsSpec(leak_probe=False, floor_steps=5)}


def show_targets(monkeypatch, only_training):
    """A leak that the probe does not see: with targets, they are added to the last state."""
    build = loop.build_model

    def built(*arguments, **options):
        model = build(*arguments, **options)
        seen = []

        def before(module, inputs):
            seen[:] = [inputs[1] if module.training or not only_training else None]

        def after(_, __, x_BTD):
            if seen[0] is None:
                return x_BTD
            return x_BTD + 40 * functional.embedding(seen[0].clamp_min(0), model.head_weight)

        model.register_forward_pre_hook(before)
        model.norm.register_forward_hook(after)
        return model

    monkeypatch.setattr(loop, "build_model", built)


def test_a_loss_that_is_too_low_stops_the_run_and_leads_to_the_documents(tmp_path, monkeypatch):
    show_targets(monkeypatch, only_training=True)
    spec = trainer_spec(tmp_path, 60, training={**QUICK, "validate_every": 60})
    with pytest.raises(PedigreeError, match=r"median loss of steps \d+ to \d+ is .*too good to be true.*its documents"):
        run(spec)
    assert 5 <= len(records(spec)) < 60
    assert '"action": "stopped"' in (spec.work / "bad_batches.jsonl").read_text()


def test_held_out_text_that_is_known_too_well_stops_the_run(tmp_path, monkeypatch):
    show_targets(monkeypatch, only_training=False)
    spec = trainer_spec(tmp_path, 60, training={"guards": GuardsSpec(leak_probe=False, floor_steps=60)})
    with pytest.raises(PedigreeError, match=r"validation loss after step \d+ is"):
        run(spec)


def test_the_median_goes_over_stops(tmp_path, monkeypatch):
    show_targets(monkeypatch, only_training=True)
    whole = trainer_spec(tmp_path, 60, work=tmp_path / "whole", training={**QUICK, "validate_every": 60})
    parts = whole.model_copy(update={"work": tmp_path / "parts"})
    with pytest.raises(PedigreeError):
        run(whole)
    last = len(records(whole))
    run(parts, StopAfter(last - 2))
    with pytest.raises(PedigreeError):
        run(parts)
    assert len(records(parts)) == last


def test_what_is_read_again_may_be_known_by_heart(tmp_path, monkeypatch):
    show_targets(monkeypatch, only_training=True)
    write_shards(tmp_path / "shards", tokens=1000)  # three batches
    spec = trainer_spec(tmp_path, 40, training={**QUICK, "validate_every": 100})
    assert steps_of_first_epoch(open_loader(spec.shards, spec.training, 0), 40) == 3
    assert run(spec).step == 40


def test_honest_runs_stay_far_above(tmp_path):
    spec = trainer_spec(tmp_path, 60)
    run(spec)
    nats = mixture_nats(open_loader(spec.shards, spec.training, 0))
    assert min(record["loss"] for record in records(spec)) > 3 * 0.2 * nats


def test_compression_measures_the_text(tmp_path):
    reader = ShardReader(write_shards(tmp_path / "shards"), "train")
    # Steps of 1, 2 or 3 are log 3 nats, and lzma is far from ideal.
    assert math.log(3) < compressed_nats(reader) < 3 * math.log(3)
    write_shards(tmp_path / "short", tokens=200)
    assert compressed_nats(ShardReader(tmp_path / "short", "train")) > 0


def test_a_source_counts_by_its_share(tmp_path, monkeypatch):
    from llm_core.experiment.training import MixtureSpec

    spec = trainer_spec(tmp_path, training={"mixture": MixtureSpec(weights={"a": 1.0, "b": 3.0})})
    monkeypatch.setattr(loss_floor, "compressed_nats", lambda reader: {"a": 1.0, "b": 2.0}[reader.name])
    assert np.isclose(mixture_nats(open_loader(spec.shards, spec.training, 0)), 1.75)
