"""The owner of files in a work folder: this run, another run, or somebody else."""

import errno
import json
import os
import re
import subprocess
import sys

import pytest

from llm_core.errors import PedigreeError
from llm_core.train.main import _recording_failure
from llm_core.train.spec import FAILURE
from llm_core.train.work_folder import claim, move_foreign_aside, record_output, recorded_outputs
from tests.train.runs import records, run, trainer_spec
from tests.train.test_loop import StopAfter


def test_files_of_our_names_in_a_folder_that_is_not_ours_are_kept_under_others(tmp_path):
    spec, lines = trainer_spec(tmp_path, 3), []
    (spec.work / "final").mkdir(parents=True)
    for name in ("metrics.jsonl", "summary.json", "final/model.safetensors", FAILURE, "metrics.jsonl.aside"):
        (spec.work / name).write_text("mine")
    run(spec, log=lines.append)
    assert [record["step"] for record in records(spec)] == [1, 2, 3]
    for name in ("metrics.jsonl.aside", "metrics.jsonl.aside2", "summary.json.aside", "final.aside/model.safetensors"):
        assert (spec.work / name).read_text() == "mine"
    told = [line for line in lines if "not of this run; kept as" in line]
    assert len(told) == 4
    run(spec, log=lines.append)
    assert len([line for line in lines if "not of this run; kept as" in line]) == 4, "told once"


def test_the_folder_of_another_run_is_refused_with_the_field_and_stays_as_it_is(tmp_path):
    run(trainer_spec(tmp_path, 3))
    other = trainer_spec(tmp_path, 3, training={"grad_clip": 0.5})
    before = {path: path.read_bytes() for path in sorted(other.work.rglob("*")) if path.is_file()}
    with pytest.raises(PedigreeError, match=r"belongs to another run: training\.grad_clip is 1\.0 there and 0\.5 here"):
        run(other)
    assert {path: path.read_bytes() for path in sorted(other.work.rglob("*")) if path.is_file()} == before


def test_a_run_of_before_there_was_a_seal_goes_on(tmp_path):
    spec = trainer_spec(tmp_path, 10)
    run(spec, StopAfter(4))
    (spec.work / "work.json").unlink()
    run(spec)
    assert [record["step"] for record in records(spec)] == list(range(1, 11))


@pytest.mark.parametrize("change", ["edited", "cut", "gone"])
def test_metrics_that_were_changed_by_hand_are_not_gone_on_from(tmp_path, change):
    spec = trainer_spec(tmp_path, 10)
    run(spec, StopAfter(5))
    path = spec.work / "metrics.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    if change == "gone":
        path.unlink()
    else:
        changed = json.dumps({**json.loads(lines[1]), "loss": 1.0}).encode() + b"\n"
        path.write_bytes(b"".join([lines[0], *([changed] if change == "edited" else []), *lines[2:]]))
    with pytest.raises(PedigreeError, match=r"metrics\.jsonl: its lines up to step \d are not what this run wrote"):
        run(spec)
    path.write_bytes(whole)
    run(spec)
    straight = trainer_spec(tmp_path, 10, work=tmp_path / "straight")
    run(straight)
    assert [record["loss"] for record in records(spec)] == [record["loss"] for record in records(straight)]


def test_what_callbacks_left_counts_as_they_wrote_it(tmp_path):
    spec = trainer_spec(tmp_path)
    claim(spec, pytest.fail)
    folder = spec.work / "profile"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / name).write_text("ours")
        record_output(spec.work, folder / name)
    (folder / "b").write_text("edited")
    (folder / "c").unlink()
    assert recorded_outputs(spec.work) == [folder / "a"]
    (folder / "d").write_text("mine")
    for name in ("a", "d"):
        move_foreign_aside(spec.work, folder / name)
    assert (folder / "d.aside").read_text() == "mine"
    assert (folder / "a").exists()


def test_a_file_that_no_callback_declares_is_not_left(tmp_path):
    spec = trainer_spec(tmp_path)
    claim(spec, pytest.fail)
    (spec.work / "more.txt").write_text("ours")
    with pytest.raises(ValueError, match=r"no callback declares the file more\.txt: name it in 'outputs'"):
        record_output(spec.work, spec.work / "more.txt")
    assert recorded_outputs(spec.work) == []


def test_a_trainer_that_can_not_start_says_what_is_missing(tmp_path):
    """Imports without torch."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-m", "llm_core.train", "spec.json"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: the trainer can't start: No module named 'torch'. It needs torch, numpy")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("seven"), r"the trainer failed \(.*test_work_folder\.py, line \d+\): ValueError: seven"),
        (OSError(errno.ENOSPC, "full"), r"the trainer failed \(.*\): the disk is full: make room there"),
        (PedigreeError("told"), "told"),
    ],
)
def test_an_error_that_nobody_expected_is_left_with_its_place(tmp_path, error, words):
    spec = trainer_spec(tmp_path)
    spec.work.mkdir()
    with pytest.raises(type(error)), _recording_failure(spec):
        raise error
    assert re.fullmatch(words, (spec.work / FAILURE).read_text())
