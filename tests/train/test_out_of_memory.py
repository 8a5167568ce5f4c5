import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.train import loop
from llm_core.train.distribution import World
from llm_core.train.out_of_memory import explain_out_of_memory
from tests.train.runs import model_spec, run, trainer_spec


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, r".*micro_batch 8 → 4.*activation_checkpointing to selective.*to full,"),
        ({"micro_batch": 1, "activation_checkpointing": "selective"}, "set compute.activation_checkpointing to full,"),
        (
            {"micro_batch": 1, "activation_checkpointing": "every_nth", "activation_checkpointing_every": 2},
            "set compute.activation_checkpointing to full, without activation_checkpointing_every,",
        ),
        ({"micro_batch": 1, "activation_checkpointing": "full"}, "use more ranks, or GPUs with more memory"),
    ],
)
def test_where_the_gpu_is_full_the_message_says_what_to_turn_down(tmp_path, monkeypatch, changes, advice):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total …")

    monkeypatch.setattr(loop, "_accumulate", full)
    with pytest.raises(PedigreeError, match=rf"full \(CUDA out of memory\. Tried to allocate 2\.00 GiB\): {advice}"):
        run(trainer_spec(tmp_path, **changes))


EXPERTS = {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 16}


@pytest.mark.parametrize(
    ("model", "same"),
    [
        ({}, True),
        ({"dropout": 0.1}, False),
        ({"mixer": {"dropout": 0.1}}, False),
        ({"feed_forward": EXPERTS}, False),
        ({"feed_forward": {**EXPERTS, "balance_loss": 0.0}}, True),
    ],
    ids=["plain", "dropout", "attention dropout", "balanced experts", "experts"],
)
def test_out_of_memory_promises_no_more_than_holds(tmp_path, model, same):
    spec = trainer_spec(tmp_path, model=model_spec(**model), parallel="fsdp2", reshard_after_forward="never")
    two = World(0, 2, torch.device("cpu"))
    with pytest.raises(PedigreeError) as caught, explain_out_of_memory(spec, two):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert ("The result stays the same up to rounding" in str(caught.value)) == same
    assert "compute.reshard_after_forward never → always" in str(caught.value)
