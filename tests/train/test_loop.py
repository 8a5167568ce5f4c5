import json
import math
import traceback
from itertools import pairwise

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from llm_core.errors import PedigreeError
from llm_core.experiment.guards import GuardsSpec
from llm_core.experiment.runtime import KeepSpec
from llm_core.experiment.training import MixtureSpec, SequencePhase
from llm_core.model.build import build_model
from llm_core.model.decoder import Losses
from llm_core.model.files import load_model
from llm_core.tokens.alphabet import ALPHABET
from llm_core.tokens.loader import Loader
from llm_core.tokens.reader import ShardReader
from llm_core.train import loop
from llm_core.train.callbacks.checkpointing import Checkpointing
from llm_core.train.data import open_data
from llm_core.train.distribution import World
from llm_core.train.interruption import StopRequest
from llm_core.train.precision import assert_master_weights
from llm_core.train.validation import validation_windows
from tests.train.runs import (
    checkpoint_steps,
    checkpoint_tensors,
    model_spec,
    records,
    run,
    trainer_spec,
    weights,
    write_shards,
)

METRICS = {
    "step",
    "loss",
    "lr",
    "grad_norm",
    "tokens",
    "seconds",
    "tokens_per_second",
    "skipped",
    "batch",
    "time",
    "memory",
}


class StopAfter(StopRequest):
    """Requests a stop in the given step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    @property
    def reason(self):
        self._left -= 1
        return "a test" if self._left <= 0 else None

    @reason.setter
    def reason(self, value):
        pass


def losses(spec):
    return [record["loss"] for record in records(spec)]


def without_times(spec):
    timed = {"seconds", "tokens_per_second", "time", "memory"}
    return [{name: value for name, value in record.items() if name not in timed} for record in records(spec)]


@pytest.fixture
def share_shards(tmp_path):
    write_shards(tmp_path / "shards")
    return lambda name, **changes: trainer_spec(tmp_path, work=tmp_path / name, **changes)


def test_a_run_learns_and_leaves_metrics_checkpoints_and_weights(tmp_path):
    lines = []
    spec = trainer_spec(tmp_path, steps=30)
    run(spec, log=lines.append)
    found = records(spec)
    assert [record["step"] for record in found] == list(range(1, 31))
    assert all(record.keys() - {"validation_loss"} == METRICS for record in found)
    assert [record["step"] for record in found if "validation_loss" in record] == [5, 10, 15, 20, 25, 30]
    assert found[0]["loss"] == pytest.approx(math.log(300), abs=0.1)
    assert found[-1]["loss"] < found[0]["loss"] - 1
    assert found[-1]["validation_loss"] < found[0]["loss"] - 1
    assert found[-1]["tokens"] == 30 * 256
    assert checkpoint_steps(spec) == [28, 30]
    assert lines[0].startswith("matrices: 8 tensors, ")
    model, info = load_model(spec.work / "final")
    assert (info["vocab_size"], info["step"], info["tokens"]) == (300, 30, 30 * 256)
    assert sum(parameter.numel() for parameter in model.parameters()) == 28_192


def test_with_a_tokenizer_validation_is_told_in_bits_per_byte_too(tmp_path):
    """Tokens of one and two bytes, and the end of a document with none."""
    vocab = dict(zip(ALPHABET, range(1, 257), strict=True))
    vocab |= {a + b: 257 + place for place, (a, b) in enumerate(pairwise(ALPHABET[:43]))}
    path = tmp_path / "tokenizer.json"
    end = [{"content": "<|end|>", "id": 0, "special": True}]
    path.write_text(json.dumps({"model": {"type": "BPE", "vocab": vocab}, "added_tokens": end}))
    lines = []
    plain, told = (
        trainer_spec(tmp_path, work=tmp_path / "a"),
        trainer_spec(tmp_path, work=tmp_path / "b", tokenizer=path),
    )
    run(plain, log=lines.append)
    run(told)
    assert any("bits per byte need 'tokenizer' in the specification" in line for line in lines)
    found = [record for record in records(told) if "validation_bits_per_byte" in record]
    assert [record["step"] for record in found] == [5, 10]
    assert all(
        0 < record["validation_bits_per_byte"] < record["validation_loss"] / math.log(2) * 1.1 for record in found
    )
    left_out = [{k: v for k, v in record.items() if k != "validation_bits_per_byte"} for record in without_times(told)]
    assert left_out == without_times(plain)
    assert weights(plain) == weights(told)


def test_the_batch_metric_is_the_loaders_order(tmp_path):
    spec = trainer_spec(tmp_path, steps=3)
    run(spec)
    loader = Loader(ShardReader(spec.shards, "train"), 32, 8, spec.seed, spec.training.packing)
    assert [record["batch"] for record in records(spec)] == [loader.digest(step) for step in range(3)]


def test_the_loss_does_not_depend_on_the_micro_batch(share_shards):
    whole, parts = share_shards("whole", micro_batch=8), share_shards("parts", micro_batch=3)
    run(whole)
    run(parts)
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-4)
    assert records(parts)[0]["grad_norm"] == pytest.approx(records(whole)[0]["grad_norm"], rel=1e-4)


def test_recomputing_activations_changes_nothing(share_shards):
    plain, recomputed = share_shards("plain"), share_shards("recomputed", activation_checkpointing="full")
    run(plain)
    run(recomputed)
    assert weights(plain) == weights(recomputed)


PACKED = [
    {"packing": "best_fit"},
    {"packing": "pad"},
    {"mixture": MixtureSpec(weights={"a": 1.0, "b": 2.0})},
    {
        "sequence_schedule": (
            SequencePhase(from_step=0, sequence_length=8),
            SequencePhase(from_step=3, sequence_length=32),
        )
    },
]


@pytest.mark.parametrize("training", PACKED, ids=["best_fit", "pad", "mixture", "schedule"])
def test_every_way_to_read_the_shards_trains_and_resumes(share_shards, training):
    whole = share_shards("whole", training=training, model=model_spec(document_mask=True))
    parts = share_shards("parts", training=training, model=model_spec(document_mask=True), micro_batch=3)
    run(whole)
    run(parts, StopAfter(4))
    run(parts)
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-4)
    assert losses(whole)[0] == pytest.approx(math.log(300), abs=0.1)  # a mean without padding
    assert losses(whole)[-1] < losses(whole)[0] - 0.3


def test_bf16_and_document_masks_train(tmp_path):
    spec = trainer_spec(tmp_path, steps=20, training={"precision": "bf16"}, model=model_spec(document_mask=True))
    run(spec)
    assert losses(spec)[-1] < losses(spec)[0] - 0.5
    assert {tensor.dtype for tensor in checkpoint_tensors(spec, 20).values()} == {torch.float32}


def test_master_weights_that_are_not_fp32_are_refused():
    with pytest.raises(AssertionError, match=r"embedding\.weight is torch\.bfloat16"):
        assert_master_weights(build_model(model_spec(), 300).bfloat16())


@pytest.mark.parametrize("stops", [[1], [4], [5, 3]])
def test_a_stopped_run_goes_on_bitwise(share_shards, stops):
    straight, stopped = share_shards("straight"), share_shards("stopped")
    run(straight)
    done = 0
    for steps in stops:
        done += steps
        assert run(stopped, StopAfter(steps)).step == done
        assert checkpoint_steps(stopped)[-1] == done
    assert run(stopped).step == 10
    assert weights(stopped) == weights(straight)
    assert without_times(stopped) == without_times(straight)


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_attention_dropout_is_drawn_again_after_a_stop(share_shards, backend):
    model = model_spec(mixer={"dropout": 0.3}, document_mask=True)
    straight, stopped = (share_shards(name, model=model, attention_backend=backend) for name in ("straight", "stopped"))
    run(straight)
    run(stopped, StopAfter(4))
    run(stopped)
    assert weights(stopped) == weights(straight)
    assert without_times(stopped) == without_times(straight)
    plain = share_shards("plain", attention_backend=backend, model=model_spec(document_mask=True))
    run(plain)
    assert losses(plain) != losses(straight)


def test_a_finished_run_that_starts_again_only_writes_its_weights(tmp_path):
    spec = trainer_spec(tmp_path, steps=5)
    run(spec)
    before = weights(spec), records(spec)
    run(spec)
    assert (weights(spec), records(spec)) == before


def spoil(monkeypatch, how, when):
    """Make the loss or a gradient not finite in the steps ``when`` (one micro-batch per step)."""
    build = loop.build_model
    steps = 0

    def spoiled(*arguments, **options):
        model = build(*arguments, **options)

        def after_forward(module, _, losses):
            nonlocal steps
            steps += module.training
            bad = module.training and steps in when
            return Losses(*(loss * math.nan for loss in losses)) if bad and how == "loss" else losses

        def on_gradient(gradient):
            return gradient * math.inf if steps in when and how == "gradient" else gradient

        model.register_forward_hook(after_forward)
        next(model.parameters()).register_hook(on_gradient)
        return model

    monkeypatch.setattr(loop, "build_model", spoiled)


def test_weights_that_are_not_finite_are_no_final_ones(tmp_path, monkeypatch):
    whole = loop.full_weights
    monkeypatch.setattr(
        loop, "full_weights", lambda *arguments, **options: {n: w / 0 for n, w in whole(*arguments, **options).items()}
    )
    spec = trainer_spec(tmp_path, steps=2)
    with pytest.raises(PedigreeError, match=r"final: not written, since embedding\.weight has .*newest folder in"):
        run(spec)
    assert not list((spec.work / "final").glob("model.*"))


@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_bad_step_touches_neither_weights_nor_moments_nor_the_step_count(tmp_path, monkeypatch, how):
    spoil(monkeypatch, how, {3, 4})
    spec = trainer_spec(tmp_path, steps=6, checkpoint_every=1, keep=KeepSpec(last=9))
    assert run(spec).skipped == 2
    found = records(spec)
    assert [record["skipped"] for record in found] == [False, False, True, True, False, False]
    assert (found[2]["loss"] is None) == (how == "loss")
    assert found[2]["grad_norm"] is None
    assert found[2]["reason"] == f"the {how} is not finite"
    assert "reason" not in found[0]

    before, bad, after = (checkpoint_tensors(spec, step) for step in (2, 4, 5))
    assert all(torch.equal(before[name], bad[name]) for name in before)
    assert not any(torch.equal(before[name], after[name]) for name in before if not name.endswith("/step"))
    assert {int(value) for name, value in after.items() if name.endswith("/step")} == {3}


def test_too_many_bad_steps_in_a_row_end_the_run_also_across_a_restart(tmp_path, monkeypatch):
    spoil(monkeypatch, "loss", {2, 4, 5, 6, 7})
    spec = trainer_spec(tmp_path, steps=10, training={"max_bad_steps": 3})
    assert run(spec, StopAfter(5)).bad_in_a_row == 2
    spoil(monkeypatch, "loss", set(range(100)))
    with pytest.raises(PedigreeError, match=r"step 6: 3 steps in a row were skipped \(training.max_bad_steps\)"):
        run(spec)


def test_a_checkpoint_of_another_specification_is_refused(tmp_path):
    run(trainer_spec(tmp_path), StopAfter(3))
    with pytest.raises(PedigreeError, match=r"model\.feed_forward\.d_ff is 64 there and 128 here"):
        run(trainer_spec(tmp_path, model=model_spec(feed_forward={"d_ff": 128})))


def test_validation_reads_what_there_is_spread_over_the_split(tmp_path):
    reader = ShardReader(write_shards(tmp_path / "shards", heldout=1000), "heldout")
    assert validation_windows(reader, 100, 10**9).tolist() == list(range(0, 1000, 100))
    assert validation_windows(reader, 100, 350).tolist() == [0, 300, 600]
    assert validation_windows(reader, 100, 1).tolist() == [0]


def test_the_gradient_of_one_micro_batch_is_measured_beside_that_of_the_batch(share_shards):
    spec = share_shards("noise", micro_batch=3, training={"grad_clip": None})
    run(spec)
    first, *others = records(spec)
    assert [record["step"] for record in others if "micro_grad_norm" in record] == []
    torch.manual_seed(spec.seed)
    model = build_model(spec.model, spec.vocab_size)
    batch = open_data(spec, 1).train.batch(0)
    inputs, targets, documents = (torch.from_numpy(part) for part in batch[:3])

    def norm(rows):
        model.zero_grad()
        losses = model(inputs[:rows], targets[:rows], documents[:rows])
        (losses.objective / targets[:rows].numel()).backward()
        return torch.nn.utils.get_total_norm([parameter.grad for parameter in model.parameters()]).item()

    assert first["micro_grad_norm"] == pytest.approx(norm(3), rel=1e-5)
    assert first["grad_norm"] == pytest.approx(norm(8), rel=1e-5)
    whole = share_shards("whole", steps=1, micro_batch=8)
    run(whole)
    assert "micro_grad_norm" not in records(whole)[0]


def test_the_validation_loss_does_not_depend_on_the_micro_batch(share_shards):
    one, many = share_shards("one", micro_batch=1), share_shards("many", micro_batch=7)
    run(one, StopAfter(5))
    run(many, StopAfter(5))
    assert records(one)[-1]["validation_loss"] == pytest.approx(records(many)[-1]["validation_loss"], abs=1e-4)


class CountReads(TorchDispatchMode):
    """Counts reads of device values by the host: outside the metrics readback, the host would wait."""

    READS = ("aten::_local_scalar_dense", "aten::equal", "aten::nonzero", "aten::is_nonzero")

    def __init__(self) -> None:
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.name() in self.READS:
            self.found.append("".join(traceback.format_stack(limit=12)))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("training", "model"),
    [
        ({}, {}),
        ({"guards": GuardsSpec(spike_sigma=6)}, {"document_mask": True}),
        ({"optimizer": {"kind": "muon", "lr": 0.01}}, {}),
    ],
    ids=["plain", "spikes and documents", "muon"],
)
def test_no_step_waits_for_the_device(tmp_path, monkeypatch, training, model):
    counts = []
    steps = loop._steps

    def counted(*arguments):
        with CountReads() as reads:
            stopped = steps(*arguments)
        counts.extend(reads.found)
        return stopped

    monkeypatch.setattr(loop, "_steps", counted)
    guards = training.get("guards", GuardsSpec()).model_copy(update={"leak_probe": False})
    spec = trainer_spec(
        tmp_path, 6, training={**training, "guards": guards}, model=model_spec(**model), checkpoint_every=100
    )
    monkeypatch.setattr(Checkpointing, "end_step", lambda *arguments, **options: None)
    run(spec)
    assert counts == []


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_no_step_waits_for_a_gpu(tmp_path, monkeypatch, kind):
    """torch raises for every operation that makes the host wait, except waiting for an event."""
    steps = loop._steps

    def watched(*arguments):
        torch.cuda.set_sync_debug_mode("error")
        try:
            return steps(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(loop, "_steps", watched)
    monkeypatch.setattr(Checkpointing, "end_step", lambda *arguments, **options: None)
    guards = GuardsSpec(leak_probe=False, spike_sigma=6)
    training = {"guards": guards, "optimizer": {"kind": kind, "lr": 0.01}, "precision": "bf16"}
    spec = trainer_spec(tmp_path, 6, training=training, model=model_spec(document_mask=True))
    spec.work.mkdir(parents=True)
    world = World(0, 1, torch.device("cuda", 0))
    assert loop.train(spec, world, StopRequest(), lambda line: None).step == 6


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_a_gpu_trains_as_a_cpu_does(tmp_path, compiled):
    """A whole run in fp32, with checkpoints, validation and activation checkpointing."""
    losses = []
    for device in ("cpu", "cuda:0"):
        spec = trainer_spec(
            tmp_path,
            6,
            work=tmp_path / device.replace(":", ""),
            model=model_spec(document_mask=True),
            compile=compiled and device != "cpu",
            activation_checkpointing="selective",
        )
        spec.work.mkdir(parents=True)
        assert loop.train(spec, World(0, 1, torch.device(device)), StopRequest(), lambda line: None).step == 6
        losses.append([record["loss"] for record in records(spec)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
