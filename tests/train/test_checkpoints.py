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
from llm_core.reasons import explained
from llm_core.train import checkpoints as module
from llm_core.train import rank_files
from llm_core.train.checkpoint_manifest import CHECKPOINT_MANIFEST, FORMAT, read_manifest, write_manifest, write_marker
from llm_core.train.checkpoints import Checkpoints, Progress, load_checkpoint, steps_to_keep
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
    """All steps so far were bad."""
    first, second = Setting(tmp_path), Setting(tmp_path)
    first.checkpoints.save(first.model, first.optimizer, Progress(3, skipped=3))
    first.checkpoints.wait()
    second.step()
    second.resume()
    assert not second.optimizer.state


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """A checkpoint contains the state at the moment of ``save``, whatever happens to the weights later."""
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
    assert steps_to_keep(losses, KeepSpec(**keep)) == stay
    assert steps_to_keep(losses, KeepSpec(**keep), pinned={20, 99}) == {20, *stay}
    assert steps_to_keep(losses, KeepSpec(**keep), behind=22) == {40, 50, 60, *stay}
    assert steps_to_keep(losses, KeepSpec(**keep), behind=1) == stay


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
    [f"{what} {which}" for which in ("part", "index", "manifest") for what in ("cut", "flipped", "no")],
)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, damage):
    """One with its manifest is removed. Without a manifest its owner is unknown: it stays until its name is needed."""
    setting = Setting(tmp_path)
    setting.save(1)
    before = setting.tensors()
    setting.save(2)
    what, which = damage.split()
    path = tmp_path / "step_00000002" / {"part": PART, "index": INDEX, "manifest": CHECKPOINT_MANIFEST}[which]
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
    if which == "manifest":
        assert "not touched, since not of this run: step_00000002 (" in resumed.lines[0]
        resumed.save(2)
        assert names(tmp_path) == ["step_00000001", "step_00000002", "step_00000002.aside"]
    else:
        assert "step_00000002: the checkpoint is damaged" in resumed.lines[0]
        assert steps(tmp_path) == [1]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.EMFILE, errno.ESTALE])
@pytest.mark.parametrize("file", [PART, CHECKPOINT_MANIFEST])
def test_a_checkpoint_that_can_not_be_read_is_not_taken_for_damaged(tmp_path, monkeypatch, code, file):
    Setting(tmp_path).save(1, 2)
    opened = type(tmp_path).open

    def refused(path, *arguments, **options):
        if path == tmp_path / "step_00000002" / file:
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, *arguments, **options)

    monkeypatch.setattr(type(tmp_path), "open", refused)
    monkeypatch.setattr(type(tmp_path), "read_bytes", lambda path: refused(path, "rb").read())
    with pytest.raises(
        PedigreeError, match=rf"step_00000002/{file}: can't be read: {explained(OSError(code, ''))[:20]}"
    ):
        Setting(tmp_path).resume()
    monkeypatch.undo()
    assert Setting(tmp_path).resume().step == 2


def put_foreign_things(folder):
    """Add copies and a user's own entries to the checkpoints of steps 1 and 2; returns their content."""
    shutil.copytree(folder / "step_00000001", folder / "step_keep")
    shutil.copytree(folder / "step_00000002", folder / "step_00000002.bak")
    shutil.copytree(folder / "step_00000001", folder / "step_00000009")
    shutil.copytree(folder / "step_00000001", folder / "step_00000007.unfinished")
    shutil.copytree(folder / "step_00000001", folder / "step_7")
    (folder / "step_00000008").symlink_to(folder / "step_keep")
    for name in ("step_notes", "step_00000003", "rank_0.unfinished", "step_00000004.0badcafe.unfinished", "mine.old"):
        (folder / name).mkdir()
        (folder / name / "mine.txt").write_text("precious")
    (folder / "todo.txt").write_text("precious")
    return foreign_things(folder)


def foreign_things(folder):
    ours = {"step_00000001", "step_00000002", "step_00000005", "step_00000006"}
    return {
        path.relative_to(folder): path.read_bytes()
        for entry in sorted(folder.iterdir())
        if entry.name not in ours
        for path in ([entry] if entry.is_file() else sorted(entry.rglob("*")))
        if path.is_file()
    }


def test_what_is_not_of_the_run_is_neither_read_nor_removed_and_named_once(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1, 2)
    before, tensors = put_foreign_things(tmp_path), setting.tensors()
    resumed = Setting(tmp_path, last=1)
    assert resumed.resume().step == 2
    assert same(resumed.tensors(), tensors)
    resumed.save(5, 6)
    resumed.resume(at_most=7)
    assert foreign_things(tmp_path) == before
    assert not (tmp_path / "step_00000005").exists()
    told = [line for line in resumed.lines if "not touched" in line]
    assert len(told) == 1
    for name, reason in {
        "step_keep": "not the name of a checkpoint",
        "step_00000002.bak": "not the name of a checkpoint",
        "step_00000009": "a copy of the checkpoint of step 1",
        "step_00000008": "not a folder",
        "step_00000003": f"there is no {CHECKPOINT_MANIFEST}",
    }.items():
        assert f"{name} ({reason})" in told[0]


def test_what_stands_where_a_checkpoint_goes_is_renamed(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1)
    (tmp_path / "step_00000002").mkdir()
    (tmp_path / "step_00000002" / "mine.txt").write_text("precious")
    (tmp_path / "step_00000002.aside").write_text("precious too")
    shutil.copytree(tmp_path / "step_00000001", tmp_path / "step_00000003")
    setting.save(2, 3)
    assert (tmp_path / "step_00000002.aside2" / "mine.txt").read_text() == "precious"
    assert (tmp_path / "step_00000002.aside").read_text() == "precious too"
    assert read_manifest(tmp_path / "step_00000003.aside")["progress"]["step"] == 1
    assert [line.rpartition("/")[2] for line in setting.lines] == ["step_00000002.aside2", "step_00000003.aside"]
    assert Setting(tmp_path).resume().step == 3


def test_a_file_that_someone_put_into_a_checkpoint_outlives_it(tmp_path):
    setting = Setting(tmp_path, last=1)
    setting.save(1)
    (tmp_path / "step_00000001" / "notes.txt").write_text("precious")
    setting.save(2)
    assert names(tmp_path / "step_00000001.aside") == ["notes.txt"]
    assert "step_00000001.aside: contains files that are not of the checkpoint" in setting.lines[0]


@pytest.mark.parametrize("file", [PART, INDEX, CHECKPOINT_MANIFEST])
def test_every_flipped_byte_is_noticed(tmp_path, file):
    Setting(tmp_path, width=2).save(1)
    folder = tmp_path / "step_00000001"

    def damaged():
        (part,) = read_manifest(folder)["parts"]
        return rank_files.damage(folder, part["index"], part["sha256"])

    assert damaged() is None
    path = folder / file
    content = path.read_bytes()
    for position in range(0, len(content), 23):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        try:
            assert damaged()
        except module.DamagedFileError:
            assert file == CHECKPOINT_MANIFEST


def test_a_checkpoint_of_another_format_is_not_thrown_away(tmp_path):
    setting = Setting(tmp_path)
    setting.save(1)
    folder = tmp_path / "step_00000001"
    write_manifest(folder, {**read_manifest(folder), "format": FORMAT + 1})
    with pytest.raises(PedigreeError, match=r"of format 2, and this version reads 1: finish"):
        setting.resume()
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize("left", ["nothing", "marker", "empty marker", "part", "manifest", "half removed"])
def test_what_a_killed_writer_left_is_no_checkpoint_and_is_removed(tmp_path, left):
    setting = Setting(tmp_path)
    setting.save(1, 2)
    whole = tmp_path / "step_00000002"
    folder = whole.rename(tmp_path / f"step_00000002.0badcafe.{'old' if left == 'half removed' else 'unfinished'}")
    if left != "manifest":
        write_marker(folder, 0, 2)
    if left in ("nothing", "marker", "empty marker"):
        (folder / PART).unlink()
        (folder / INDEX).unlink()
    if left in ("nothing", "empty marker"):
        (folder / "rank_0000.begun").write_bytes(b"") if left == "empty marker" else (
            folder / "rank_0000.begun"
        ).unlink()
    if left == "half removed":
        (folder / PART).unlink()
    elif left != "manifest":
        (folder / CHECKPOINT_MANIFEST).unlink()
    assert Setting(tmp_path).resume().step == 1
    assert steps(tmp_path) == [1]


def test_a_killed_writer_leaves_a_marker_and_a_part(tmp_path, monkeypatch):
    """As ``kill -9`` does while parts are written: the process never writes the manifest."""
    setting = Setting(tmp_path)
    setting.save(1)
    monkeypatch.setattr(Checkpoints, "_publish", lambda *_: None)
    setting.save(2)
    (left,) = (path for path in tmp_path.iterdir() if path.name != "step_00000001")
    assert names(left) == ["rank_0000.begun", INDEX, PART]
    monkeypatch.undo()
    assert Setting(tmp_path).resume().step == 1
    assert steps(tmp_path) == [1]


def test_a_checkpoint_of_another_run_names_the_field(tmp_path):
    Setting(tmp_path).save(1)
    other = Setting(tmp_path, owner={**OWNER, "training.optimizer.lr": 0.2})
    with pytest.raises(PedigreeError, match=r"training\.optimizer\.lr is 0\.1 there and 0\.2 here; train in another"):
        other.resume()
    assert steps(tmp_path) == [1]


def test_checkpoints_of_another_run_beside_those_of_this_one_are_left_alone(tmp_path):
    Setting(tmp_path / "other", owner={**OWNER, "seed": 2}, last=9).save(1, 3, 8)
    setting = Setting(tmp_path / "this", last=1)
    setting.save(1, 2)
    for step in (3, 8):
        shutil.copytree(tmp_path / "other" / f"step_0000000{step}", tmp_path / "this" / f"step_0000000{step}")
    resumed = Setting(tmp_path / "this", last=1)
    assert resumed.resume().step == 2
    assert "step_00000008 (a checkpoint of another run: seed is 2 there and 1 here)" in resumed.lines[0]
    resumed.save(3)
    assert names(tmp_path / "this") == ["step_00000003", "step_00000003.aside", "step_00000008"]


@pytest.mark.parametrize("width", [8, 9])
def test_a_checkpoint_of_another_model_names_the_weight(tmp_path, width):
    """As after a change of the code, which the owner's fields do not show."""
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
    with pytest.raises(PedigreeError, match=rf"{folder}: {what} has numbers that are not finite: remove that folder"):
        Setting(tmp_path).resume()
    other = Setting(tmp_path)
    with pytest.raises(PedigreeError, match=rf"{folder}: {what} has numbers .*; begin with another checkpoint"):
        load_checkpoint(folder, ALONE, other.model, other.optimizer)
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
    """The operating system refuses to enlarge the file, as on a full disk."""
    setting = Setting(tmp_path, width=200)
    setting.save(1)
    before = setting.tensors()
    message = rf"{tmp_path}.*step 2 can't be written"
    with files_of_at_most(200_000):
        setting.step()
        setting.checkpoints.save(setting.model, setting.optimizer, Progress(2))
        setting.checkpoints._saving.published.wait(20)
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

    monkeypatch.setattr(rank_files, "fsync", full)
    with pytest.raises(
        PedigreeError, match=r"step 2 can't be written: the disk is full: make room there\. Then run again"
    ):
        setting.save(2)
    monkeypatch.undo()
    assert Setting(tmp_path).resume().step == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EDQUOT, "quota"), "the disk quota is used up: make room there, or ask"),
        (OSError(errno.EROFS, "ro"), "the file system is read-only: mount it writable"),
        (MemoryError(), "memory ran out .*: free memory"),
        (ValueError("seven"), "ValueError: seven"),
    ],
)
def test_a_failed_write_is_told_by_its_own_reason(tmp_path, monkeypatch, error, words):
    setting = Setting(tmp_path)
    monkeypatch.setattr(module, "write_part", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(PedigreeError, match=f"the checkpoint of step 1 can't be written: {words}") as told:
        setting.save(1)
    assert "make room" not in str(told.value) or error.errno == errno.EDQUOT


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
    assert names(tmp_path / "step_00000001") == [CHECKPOINT_MANIFEST, INDEX, PART]


def test_equal_states_give_equal_files(tmp_path):
    first, second = Setting(tmp_path / "a"), Setting(tmp_path / "b")
    first.save(1)
    second.save(1)
    for name in (CHECKPOINT_MANIFEST, INDEX, PART):
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
    assert load_checkpoint(folder, ALONE, weights.model)["progress"]["step"] == 1
    load_checkpoint(folder, ALONE, all_of_it.model, all_of_it.optimizer)
    assert same(weights.tensors(), setting.tensors()[:2])
    assert same(all_of_it.tensors(), setting.tensors())
    (folder / PART).write_bytes((folder / PART).read_bytes()[:-1])
    with pytest.raises(PedigreeError, match=rf"step_00000001: the checkpoint is damaged \({PART} has"):
        load_checkpoint(folder, ALONE, weights.model)
