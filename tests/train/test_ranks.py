"""Several ranks train as one does; and other numbers of ranks read their checkpoints."""

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import KeepSpec
from llm_core.train.interruption import StopRequest
from llm_core.train.loop import train
from tests.train.ranks import on_ranks
from tests.train.runs import checkpoint_steps, checkpoint_tensors, model_spec, records, run, trainer_spec, weights


class StopAfter(StopRequest):
    """Requests a stop in step ``steps`` of this attempt."""

    def __init__(self, steps):
        self.left = steps

    @property
    def reason(self):
        self.left -= 1
        return "the test" if self.left <= 0 else None


def go_on(world, spec, steps):
    return train(spec, world, StopAfter(steps), lambda line: None).step


def metrics(spec, name):
    return [record[name] for record in records(spec)]


def agree(spec, other, tolerance):
    assert metrics(spec, "batch") == metrics(other, "batch")
    assert metrics(spec, "loss") == pytest.approx(metrics(other, "loss"), abs=tolerance)


@pytest.fixture
def spec(tmp_path):
    def make(name, **changes):
        made = trainer_spec(tmp_path, **{"steps": 12, "work": tmp_path / name, "micro_batch": 1, **changes})
        made.work.mkdir(exist_ok=True)
        return made

    return make


def test_two_one_two_ranks_and_four_of_another_kind_end_as_one(spec):
    """A checkpoint allows every change of the number of ranks or of the sharding."""
    straight, moved = spec("straight"), spec("moved")
    run(straight)
    assert on_ranks(2, go_on, moved, 3) == [3] * 2
    assert run(moved, StopAfter(3)).step == 6
    assert on_ranks(2, go_on, moved, 3) == [9] * 2
    assert on_ranks(4, go_on, moved.model_copy(update={"parallel": "fsdp2"}), 99) == [12] * 4
    assert len(list((moved.work / "checkpoints" / "step_00000012").glob("*.safetensors"))) == 4
    agree(moved, straight, 1e-5)
    ours, theirs = checkpoint_tensors(moved, 12), checkpoint_tensors(straight, 12)
    assert ours.keys() == theirs.keys()
    assert all((ours[name] - theirs[name]).abs().max() < 2e-3 for name in ours)


def test_ranks_begin_with_the_very_state_that_others_wrote(spec):
    """Loading changes no bit: a run that resumes for no step writes what it read."""
    first = spec("first", parallel="fsdp2", keep=KeepSpec(last=9))
    assert on_ranks(4, go_on, first, 4) == [4] * 4
    before = checkpoint_tensors(first, 4)
    for ranks, parallel in ((2, "ddp"), (3, "fsdp2"), (2, "fsdp2")):
        assert on_ranks(ranks, rewritten, first.model_copy(update={"parallel": parallel}), 4)[0] is None
        after = checkpoint_tensors(first, 4)
        assert before.keys() == after.keys()
        assert all(bool((before[name] == after[name]).all()) for name in before)


def rewritten(world, spec, step):
    """Load the checkpoint and save it again."""
    from llm_core.model.build import build_model
    from llm_core.train.checkpoints import Checkpoints
    from llm_core.train.distribution import spread
    from llm_core.train.spec import CHECKPOINTS, result_fields

    model = build_model(spec.model, spec.vocab_size)
    spread(model, spec, world)
    optimizer = spec.training.optimizer.build(model, world.device, spec.training.precision)
    checkpoints = Checkpoints(spec.work / CHECKPOINTS, spec.keep, result_fields(spec), world, lambda line: None)
    progress = checkpoints.resume(model, optimizer)
    assert progress.step == step
    checkpoints.save(model, optimizer, progress)
    checkpoints.wait()


EVERYTHING = {
    "n_layers": 4,
    "document_mask": True,
    "mixer": {"qk_norm": True, "value_embedding": {}},
    "stream_scales": {"residual": [1.1, 1.0], "input": [0.1, 0.0]},
    "pattern": (
        {},
        {"mixer": {"kind": "mamba2", "state": 8, "head_dim": 16, "chunk": 16}},
        {"feed_forward": {"kind": "moe", "experts": 4, "top_k": 2, "d_ff": 16}},
        {"mixer": {"kind": "hyena", "max_length": 256, "filter_width": 8}},
    ),
    "multi_token": {"depth": 1},
}


@pytest.mark.parametrize(("reshard", "recomputed"), [("always", "full"), ("never", "none")])
def test_fsdp2_in_bf16_is_as_one_process_in_bf16(spec, reshard, recomputed):
    changes = {"training": {"precision": "bf16"}, "model": model_spec(**EVERYTHING), "steps": 5}
    one = spec("one", **changes)
    spread = {"parallel": "fsdp2", "reshard_after_forward": reshard, "activation_checkpointing": recomputed}
    two = spec("two", **changes, **spread)
    run(one)
    assert on_ranks(2, go_on, two, 99) == [5] * 2
    agree(two, one, 1e-3)
    assert {str(tensor.dtype) for tensor in checkpoint_tensors(two, 5).values()} == {"torch.float32"}


def test_fsdp2_gathers_in_bf16_what_autocast_would_round(spec):
    found = on_ranks(2, types_of_blocks, spec("any", training={"precision": "bf16"}, model=model_spec(**EVERYTHING)))
    assert found[0] == found[1]
    rounded = {name for name, dtype in found[0].items() if dtype == "torch.bfloat16"}
    assert {name.split(".", 1)[1] for name in rounded} == {
        "mixer.qkv.weight",
        "mixer.input.weight",
        "mixer.output.weight",
        "mixer.value_gate.weight",
        "feed_forward.gate_up.weight",
        "feed_forward.gate_up",
        "feed_forward.down.weight",
        "feed_forward.down",
    }
    assert {
        *("0.mixer_norm.weight", "0.stream_scales.residual", "1.mixer.A_log", "2.feed_forward.router.weight"),
        *("3.mixer.filters.taps", "3.mixer.filters.layers.0.weight"),
    } < found[0].keys() - rounded


def types_of_blocks(world, spec):
    """The parameters of blocks during their forward pass, by block number and name."""
    import torch

    from llm_core.model.build import build_model
    from llm_core.train.distribution import spread

    model = build_model(spec.model, spec.vocab_size)
    spread(model, spec.model_copy(update={"parallel": "fsdp2"}), world)
    found = {}
    for number, block in enumerate(model.all_blocks):
        block.mixer.register_forward_hook(
            lambda *_, number=number, block=block: found.update(
                {f"{number}.{name}": str(parameter.dtype) for name, parameter in block.named_parameters()}
            )
        )
    tokens = torch.arange(64).reshape(2, 32)
    with torch.autocast("cpu", torch.bfloat16):
        model(tokens, tokens, tokens // 10).objective.backward()
    return found


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_experts_that_no_token_chooses_hold_nobody_up(spec, parallel):
    """Of eight experts, on two ranks with other tokens; the balancing biases are equal on all ranks."""
    moe = {"kind": "moe", "experts": 8, "top_k": 1, "d_ff": 16, "bias_rate": 0.01, "normalise": False}
    model = model_spec(feed_forward=moe)
    one, two = spec("one", model=model), spec("two", model=model, parallel=parallel)
    run(one)
    assert on_ranks(2, go_on, two, 99) == [12] * 2
    agree(two, one, 1e-4)
    name = "weights/blocks.0.feed_forward.selection_bias"
    assert checkpoint_tensors(two, 12)[name].equal(checkpoint_tensors(one, 12)[name])


def test_dropout_follows_from_seed_step_and_rank(spec):
    model = model_spec(dropout=0.2)
    straight, stopped = (spec(name, model=model, steps=6) for name in ("straight", "stopped"))
    assert on_ranks(2, go_on, straight, 99) == [6] * 2
    assert on_ranks(2, go_on, stopped, 2) == [2] * 2
    assert on_ranks(2, go_on, stopped, 99) == [6] * 2
    assert weights(stopped) == weights(straight)
    assert metrics(stopped, "loss") == metrics(straight, "loss")


def test_what_one_rank_can_not_write_ends_them_all(spec):
    broken = spec("broken", checkpoint_every=2)
    first, second = on_ranks(2, go_on_with_a_full_disk, broken)
    assert "checkpoints: the checkpoint of step 4 can't be written: the disk is full" in second
    assert "Error" in first
    assert run(broken, StopAfter(1)).step == 3, "from the checkpoint before"
    assert checkpoint_steps(broken) == [2, 3]


@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_numbers_that_are_not_finite_stop_all_ranks_whoever_reads_them(spec, parallel):
    broken = spec("broken", parallel=parallel)
    assert on_ranks(2, go_on, broken, 4) == [4] * 2
    found = on_ranks(2, spoil_and_load, broken)
    assert found[0] == found[1]
    assert "weights/blocks.1.feed_forward.down.weight has numbers that are not finite" in found[0]


def spoil_and_load(world, spec):
    """The last row, which only the second rank has under FSDP2, is NaN when loaded."""
    from llm_core.train.rank_files import StoredParts

    rows = StoredParts.rows

    def spoiled(self, name, start, stop):
        found = rows(self, name, start, stop).clone()
        if name == "weights/blocks.1.feed_forward.down.weight" and stop == self.shape(name)[0]:
            found[-1] = float("nan")
        return found

    StoredParts.rows = spoiled
    # Caught before the process group closes: torch may deadlock when DDP has the group's last reference.
    try:
        return go_on(world, spec, 99)
    except PedigreeError as error:
        return str(error)


def test_a_run_that_fails_still_has_the_checkpoint_that_it_had_begun(spec):
    failing = spec("failing", checkpoint_every=2)
    assert on_ranks(2, fail_while_a_part_is_written, failing) == ["ValueError: the run fails"] * 2
    assert checkpoint_steps(failing) == [2]
    assert run(failing, StopAfter(1)).step == 3


def fail_while_a_part_is_written(world, spec):
    """The second rank writes slowly."""
    import time

    from llm_core.train import checkpoints as module

    write, wait = module.write_part, module.Checkpoints.wait

    def slow(*arguments):
        time.sleep(world.rank * 0.5)
        write(*arguments)

    def fail(checkpoints):
        if checkpoints._saving:
            raise ValueError("the run fails")
        wait(checkpoints)

    module.write_part, module.Checkpoints.wait = slow, fail
    go_on(world, spec, 99)


def go_on_with_a_full_disk(world, spec):
    """The second rank's disk is full from the second checkpoint on."""
    import errno
    import os

    from llm_core.train import checkpoints as module

    write = module.write_part
    written = []

    def full(*arguments):
        written.append(1)
        if world.rank == 1 and len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(*arguments)

    module.write_part = full
    return go_on(world, spec, 99)
