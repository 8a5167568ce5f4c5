"""Mixtures of experts and MTP in whole runs: resumed, split into micro-batches, and on several ranks."""

import pytest
import torch

from tests.train.ranks import on_ranks
from tests.train.runs import checkpoint_tensors, model_spec, run, trainer_spec, weights
from tests.train.test_ranks import StopAfter, agree, go_on

MOE = {
    "kind": "moe",
    "experts": 4,
    "top_k": 2,
    "d_ff": 16,
    "shared": 1,
    "score": "sigmoid",
    "bias_rate": 0.01,
    "balance_loss": 0.0,
}
MODELS = {
    "biases": model_spec(pattern=({}, {"feed_forward": MOE})),
    "balancing loss": model_spec(feed_forward={**MOE, "bias_rate": 0.0, "balance_loss": 0.1}),
    "further tokens": model_spec(multi_token={"depth": 2}, document_mask=True),
    "both": model_spec(feed_forward=MOE, multi_token={"depth": 1}),
}
BIAS = "weights/blocks.1.feed_forward.selection_bias"


@pytest.fixture
def spec(tmp_path):
    def make(name, model, **changes):
        made = trainer_spec(
            tmp_path, **{"steps": 8, "work": tmp_path / name, "micro_batch": 2, "model": MODELS[model], **changes}
        )
        made.work.mkdir(exist_ok=True)
        return made

    return make


@pytest.mark.parametrize("model", ["balancing loss", "both"])
def test_a_stopped_run_goes_on_bitwise(spec, model):
    straight, stopped = spec("straight", model), spec("stopped", model)
    run(straight)
    assert run(stopped, StopAfter(3)).step == 3
    run(stopped)
    assert weights(stopped) == weights(straight)


@pytest.mark.parametrize("model", ["biases", "further tokens"])
def test_a_batch_may_be_cut_in_any_way(spec, model):
    whole, cut = spec("whole", model, micro_batch=8), spec("cut", model, micro_batch=1)
    run(whole)
    run(cut)
    agree(cut, whole, 1e-5)
    if model == "biases":
        bias = checkpoint_tensors(cut, 8)[BIAS]
        assert torch.equal(bias, checkpoint_tensors(whole, 8)[BIAS])
        assert bias.abs().max() >= 0.01


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_two_ranks_are_one(spec, parallel):
    alone, spread = spec("alone", "both"), spec("spread", "both", parallel=parallel)
    run(alone)
    assert on_ranks(2, go_on, spread, 99) == [8] * 2
    agree(spread, alone, 1e-5)
    ours, theirs = checkpoint_tensors(spread, 8), checkpoint_tensors(alone, 8)
    assert torch.equal(ours[BIAS], theirs[BIAS])
    assert ours.keys() == theirs.keys()
    assert all((ours[name] - theirs[name]).abs().max() < 2e-3 for name in ours)
