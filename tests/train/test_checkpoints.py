import errno
import json
import math
import os
import resource
import shutil
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import KeepSpec
from llm_core.train import checkpoints as module
from llm_core.train import parts
from llm_core.train.checkpoints import Checkpoints, Progress, kept, load_from
from llm_core.train.seal import FORMAT, SEAL, read_seal, write_seal
from tests.train.runs import ALONE

OWNER = {"training.optimizer.lr": 0.1, "training.optimizer.betas": (0.9, 0.95), "seed": 1}
PART, INDEX = "rank_0000.safetensors", "rank_0000.json"


class Setting:
    def __init__(self, folder, owner=None, width=8, pinned=(), **keep):
        torch.manual_seed(0)
        self.model = nn.Linear(width, width)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.lines = []
        self.checkpoints = Checkpoints(
            folder, KeepSpec(**{"last": 3, **keep}), owner or OWNER, ALONE, self.lines.append, pinned
        )

    def step(self):
        self.model(torch.ones(self.model.in_features)).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, *steps, loss=None):
        for step in steps:
            self.step()
            progress = Progress(step, skipped=2, bad_in_a_row=1, callbacks={"guards": [1.5]})
            self.checkpoints.save(self.model, self.optimizer, progress, validation_loss=loss)
        self.checkpoints.wait()

    def resume(self, **options):
        return self.checkpoints.resume(self.model, self.optimizer, **options)

    def tensors(self):
        moments = [value for state in self.optimizer.state.values() for _, value in sorted(state.items())]
        return [tensor.clone() for tensor in (*self.model.state_dict().values(), *moments)]


def same(left, right):
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def steps(folder):
    return [int(name.removeprefix("step_")) for name in names(folder)]


def test_everything_comes_back_bitwise_and_goes_on_the_same(tmp_path):
    first, second = Setting(tmp_path), Setting(tmp_path)
    first.save(1, 2)
    second.step()
    assert second.resume() == Progress(2, skipped=2, bad_in_a_row=1, callbacks={"guards": [1.5]})
    assert same(first.tensors(), second.tensors())
    first.step()
    second.step()
    assert same(first.tensors(), second.tensors())


def test_without_a_checkpoint_a_run_starts(tmp_path):
    assert Setting(tmp_path / "none").resume() == Progress()


def test_an_optimizer_that_never_stepped_stays_so(tmp_path):
    """When all steps so far were bad ones."""
    first, second = Setting(tmp_path), Setting(tmp_path)
    first.checkpoints.save(first.model, first.optimizer, Progress(3, skipped=3))
    first.checkpoints.wait()
    second.step()
    second.resume()
    assert not second.optimizer.state


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """What is written is the state at the moment of saving, whatever happens to the weights after it."""
    import threading

    go, write = threading.Event(), module.write_part

    def slow(*arguments):
        assert go.wait(20)
        write(*arguments)

    monkeypatch.setattr(module, "write_part", slow)
    setting = Setting(tmp_path)
    setting.step()
    before = setting.tensors()
    setting.checkpoints.save(setting.model, setting.optimizer, Progress(1))
    setting.step()
    setting.checkpoints.check()
    assert not any(path.suffix != ".unfinished" for path in tmp_path.iterdir())
    go.set()
    setting.checkpoints.wait()
    resumed = Setting(tmp_path)
    assert resumed.resume().step == 1
    assert same(resumed.tensors(), before)
    assert not same(setting.tensors(), before)


@pytest.mark.parametrize(
    ("keep", "stay"),
    [
        ({"last": 2}, {60, 70}),
        ({"last": 1, "best": 2}, {30, 50, 70}),
        ({"last": 1, "every": 30}, {30, 60, 70}),
        ({"last": 9}, {10, 20, 30, 40, 50, 60, 70}),
    ],
)
def test_what_is_kept(keep, stay):
    losses = {10: 5.0, 20: None, 30: 3.0, 40: float("nan"), 50: 2.0, 60: None, 70: 4.0}
    assert kept(losses, KeepSpec(**keep)) == stay
    assert kept(losses, KeepSpec(**keep), pinned={20, 99}) == {20, *stay}
    assert kept(losses, KeepSpec(**keep), behind=22) == {40, 50, 60, *stay}
    assert kept(losses, KeepSpec(**keep), behind=1) == stay


def test_others_are_removed_when_a_newer_one_is_whole(tmp_path):
    setting = Setting(tmp_path, last=1, best=1, every=4, pinned={3})
    for step, loss in enumerate([9.0, 1.0, 8.0, 7.0, 6.0, 5.0], start=1):
        setting.save(step, loss=loss)
    assert steps(tmp_path) == [2, 3, 4, 6]


def test_a_rollback_removes_what_is_newer(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1)
    before = setting.tensors()
    setting.save(2, 3)
    assert setting.resume(at_most=2).step == 2
    assert steps(tmp_path) == [1, 2]
    assert setting.resume(at_most=1).step == 1
    assert same(setting.tensors(), before)
    assert setting.resume(at_most=0) == Progress()
    assert same(setting.tensors(), before), "nothing to go back to"


@pytest.mark.parametrize(
    "damage",
    [f"{what} {which}" for which in ("part", "index", "seal") for what in ("cut", "flipped", "no")],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage):
    setting = Setting(tmp_path)
    setting.save(1)
    before = setting.tensors()
    setting.save(2)
    what, which = damage.split()
    path = tmp_path / "step_00000002" / {"part": PART, "index": INDEX, "seal": SEAL}[which]
    content = bytearray(path.read_bytes())
    if what == "no":
        path.unlink()
    elif what == "cut":
        path.write_bytes(content[:-7])
    else:
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    resumed = Setting(tmp_path)
    assert resumed.resume().step == 1
    assert same(resumed.tensors(), before)
    assert "step_00000002: the checkpoint is damaged" in resumed.lines[0]
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize("file", [PART, INDEX, SEAL])
def test_every_flipped_byte_is_noticed(tmp_path, file):
    Setting(tmp_path, width=2).save(1)
    folder = tmp_path / "step_00000001"

    def damaged():
        (part,) = read_seal(folder)["parts"]
        return parts.damage(folder, part["index"], part["sha256"])

    assert damaged() is None
    path = folder / file
    content = path.read_bytes()
    for position in range(0, len(content), 23):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            assert damaged()
        except module.DamagedSealError:
            assert file == SEAL


def test_a_checkpoint_of_another_format_is_not_thrown_away(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1)
    folder = tmp_path / "step_00000001"
    write_seal(folder, {**read_seal(folder), "format": FORMAT + 1})
    with pytest.raises(PedigreeError, match=r"of format 2, and this version reads 1: finish"):
        setting.resume()
    assert steps(tmp_path) == [1]


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1, 2)
    (tmp_path / "step_00000002").rename(tmp_path / "step_00000002.unfinished")
    assert Setting(tmp_path).resume().step == 1
    assert steps(tmp_path) == [1]


def test_a_checkpoint_of_another_run_names_the_field(tmp_path):
    Setting(tmp_path).save(1)
    other = Setting(tmp_path, owner={**OWNER, "training.optimizer.lr": 0.2})
    with pytest.raises(PedigreeError, match=r"training\.optimizer\.lr is 0\.1 there and 0\.2 here"):
        other.resume()


@pytest.mark.parametrize("width", [8, 9])
def test_a_checkpoint_of_another_model_names_the_weight(tmp_path, width):
    """As after a change of the code, which no field of the owner tells."""
    Setting(tmp_path).save(1)
    other = Setting(tmp_path, width=width)
    if width == 8:
        other.model.register_parameter("extra", nn.Parameter(torch.ones(1)))
    reason = r"missing or unknown: extra" if width == 8 else r"weight is \(8, 8\), not \(9, 9\)"
    with pytest.raises(PedigreeError, match=rf"step_00000001: the weights are not those of this model.*{reason}"):
        other.resume()


@pytest.mark.parametrize("what", ["weights/weight", "optimizer/weight/exp_avg"])
@pytest.mark.parametrize("number", [math.nan, -math.inf])
def test_a_checkpoint_that_is_not_finite_names_the_tensor_and_what_to_remove(tmp_path, what, number):
    setting = Setting(tmp_path)
    setting.save(1)
    parameter = setting.model.weight
    tensor = parameter.data if what.startswith("weights") else setting.optimizer.state[parameter]["exp_avg"]
    tensor[3, 2] = number
    setting.checkpoints.save(setting.model, setting.optimizer, Progress(2))
    setting.checkpoints.wait()
    folder = tmp_path / "step_00000002"
    with pytest.raises(PedigreeError, match=rf"{folder}: {what} holds numbers that are not finite: remove that folder"):
        Setting(tmp_path).resume()
    other = Setting(tmp_path)
    with pytest.raises(PedigreeError, match=rf"{folder}: {what} holds numbers .*; begin with another checkpoint"):
        load_from(folder, ALONE, other.model, other.optimizer)
    shutil.rmtree(folder)
    assert Setting(tmp_path).resume().step == 1


@contextmanager
def files_of_at_most(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_midway_names_the_folder_and_leaves_the_others(tmp_path):
    """The operating system refuses to make the file larger, as it does on a full disk."""
    setting = Setting(tmp_path, width=200)
    setting.save(1)
    before = setting.tensors()
    message = rf"{tmp_path}.*step 2 can't be written"
    with files_of_at_most(200_000):
        setting.step()
        setting.checkpoints.save(setting.model, setting.optimizer, Progress(2))
        setting.checkpoints._saving.sealed.wait(20)
    with pytest.raises(PedigreeError, match=message):
        setting.checkpoints.check()
    with pytest.raises(PedigreeError, match=message):
        setting.checkpoints.wait()
    assert not list(tmp_path.glob(f"*/{PART}"))[1:], "what is left of the part would fill the disk"
    resumed = Setting(tmp_path, width=200)
    assert resumed.resume().step == 1
    assert steps(tmp_path) == [1]
    assert same(resumed.tensors(), before)


def test_a_sync_that_fails_is_a_failed_write(tmp_path, monkeypatch):
    setting = Setting(tmp_path)
    setting.save(1)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(parts, "sync", full)
    with pytest.raises(PedigreeError, match="No space left"):
        setting.save(2)
    monkeypatch.undo()
    assert Setting(tmp_path).resume().step == 1


def test_a_folder_that_can_not_be_written_to_is_refused_before_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PedigreeError, match=rf"{tmp_path}/file/checkpoints: checkpoints can't be written there"):
        Setting(tmp_path / "file" / "checkpoints").resume()


def test_the_same_step_again_replaces_it(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1)
    setting.save(1)
    resumed = Setting(tmp_path)
    resumed.resume()
    assert same(resumed.tensors(), setting.tensors())
    assert names(tmp_path / "step_00000001") == [SEAL, INDEX, PART]


def test_equal_states_give_equal_files(tmp_path):
    first, second = Setting(tmp_path / "a"), Setting(tmp_path / "b")
    first.save(1)
    second.save(1)
    for name in (SEAL, INDEX, PART):
        path = f"step_00000001/{name}"
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_the_part_is_an_ordinary_safetensors_file(tmp_path):
    from safetensors.torch import load_file

    setting = Setting(tmp_path)
    setting.save(1)
    tensors = load_file(tmp_path / "step_00000001" / PART)
    assert torch.equal(tensors["weights/weight"], setting.model.weight)
    (moment,) = (state["exp_avg"] for parameter, state in setting.optimizer.state.items() if parameter.ndim == 2)
    assert torch.equal(tensors["optimizer/weight/exp_avg"], moment)
    assert json.loads((tmp_path / "step_00000001" / INDEX).read_bytes())["file"] == PART


def test_another_run_may_begin_with_it(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1)
    folder = tmp_path / "step_00000001"
    weights, all_of_it = Setting(tmp_path, owner={"seed": 9}), Setting(tmp_path, owner={"seed": 9})
    assert load_from(folder, ALONE, weights.model)["progress"]["step"] == 1
    load_from(folder, ALONE, all_of_it.model, all_of_it.optimizer)
    assert same(weights.tensors(), setting.tensors()[:2])
    assert same(all_of_it.tensors(), setting.tensors())
    (folder / PART).write_bytes((folder / PART).read_bytes()[:-1])
    with pytest.raises(PedigreeError, match=rf"step_00000001: the checkpoint is damaged \({PART} has"):
        load_from(folder, ALONE, weights.model)
