import errno
import json
import os
import resource
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from llm_core.errors import PedigreeError
from llm_core.train import checkpoints as module
from llm_core.train.checkpoints import SEAL, STATE, Checkpoints, Progress, full_weights
from tests.train.runs import ALONE

OWNER = {"training.optimizer.lr": 0.1, "seed": 1}


class Setting:
    def __init__(self, folder, owner=None, keep=3, width=8):
        torch.manual_seed(0)
        self.model = nn.Linear(width, width)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.lines = []
        self.checkpoints = Checkpoints(folder, keep, owner or OWNER, ALONE, self.lines.append)

    def step(self):
        self.model(torch.ones(self.model.in_features)).sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, *steps):
        for step in steps:
            self.step()
            self.checkpoints.save(self.model, self.optimizer, Progress(step, skipped=2, bad_in_a_row=1))

    def resume(self):
        return self.checkpoints.resume(self.model, self.optimizer)

    def tensors(self):
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [tensor.clone() for tensor in (*self.model.state_dict().values(), *moments)]


def same(left, right):
    return len(left) == len(right) and all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_everything_comes_back_bitwise_and_goes_on_the_same(tmp_path):
    first, second = Setting(tmp_path), Setting(tmp_path)
    first.save(1, 2)
    second.step()
    assert second.resume() == Progress(2, skipped=2, bad_in_a_row=1)
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
    second.step()
    second.resume()
    assert not second.optimizer.state


def test_the_newest_are_kept(tmp_path):
    Setting(tmp_path, keep=2).save(1, 2, 10, 9)
    assert names(tmp_path) == ["step_00000009", "step_00000010"]


@pytest.mark.parametrize("damage", ["cut state", "flipped state", "cut seal", "flipped seal", "no seal", "no state"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage):
    setting = Setting(tmp_path)
    setting.save(1)
    before = setting.tensors()
    setting.save(2)
    what, which = damage.split()
    path = tmp_path / "step_00000002" / {"state": STATE, "seal": SEAL}[which]
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
    assert names(tmp_path) == ["step_00000001"]


def test_every_flipped_byte_is_noticed(tmp_path):
    Setting(tmp_path, width=2).save(1)
    path = tmp_path / "step_00000001" / STATE
    content = path.read_bytes()
    for position in range(0, len(content), 97):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        assert module._damage(path.parent)
    path.write_bytes(content)
    assert module._damage(path.parent) is None


def test_what_a_killed_writer_left_is_no_checkpoint(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1, 2)
    (tmp_path / "step_00000002").rename(tmp_path / "step_00000002.unfinished")
    assert Setting(tmp_path).resume().step == 1
    assert names(tmp_path) == ["step_00000001"]


def test_a_checkpoint_of_another_run_names_the_field(tmp_path):
    Setting(tmp_path).save(1)
    other = Setting(tmp_path, owner={**OWNER, "training.optimizer.lr": 0.2})
    with pytest.raises(PedigreeError, match=r"training\.optimizer\.lr is 0\.1 there and 0\.2 here"):
        other.resume()


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
    with files_of_at_most(200_000), pytest.raises(PedigreeError, match=rf"{tmp_path}.*step 2 can't be written"):
        setting.save(2)
    assert names(tmp_path) == ["step_00000001"]
    resumed = Setting(tmp_path, width=200)
    assert resumed.resume().step == 1
    assert same(resumed.tensors(), before)


def test_a_sync_that_fails_is_a_failed_write(tmp_path, monkeypatch):
    setting = Setting(tmp_path)
    setting.save(1)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_sync", full)
    with pytest.raises(PedigreeError, match="No space left"):
        setting.save(2)
    assert names(tmp_path) == ["step_00000001"]


def test_the_same_step_again_replaces_it(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1)
    setting.save(1)
    resumed = Setting(tmp_path)
    resumed.resume()
    assert same(resumed.tensors(), setting.tensors())
    assert json.loads((tmp_path / "step_00000001" / SEAL).read_text()).keys() == {"size", "sha256"}


def test_only_the_rank_that_writes_holds_whole_tensors(tmp_path):
    setting = Setting(tmp_path)
    setting.step()
    state = setting.model.state_dict()
    assert full_weights(setting.model, keep=False) == {}
    assert full_weights(setting.model, keep=True).keys() == state.keys()
    moments = module._optimizer_state(setting.model, setting.optimizer, keep=False)
    assert not any(moments.values())
