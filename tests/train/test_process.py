"""The trainer as a process: killed, stopped, orphaned, and on several ranks."""

import json
import os
import signal
import time

import pytest

from llm_core.errors import PedigreeError
from llm_core.train.interruption import STOPPED
from llm_core.train.locks import is_held
from llm_core.train.spec import FAILURE, read_spec
from tests.train.runs import checkpoint_steps, main_here, records, run, start, trainer_spec, weights, write_shards
from tests.train.test_loop import StopAfter


def wait_for_step(spec, step, process=None, seconds=90.0):
    path = spec.work / "metrics.jsonl"
    deadline = time.monotonic() + seconds
    while not path.exists() or path.read_bytes().count(b"\n") < step:
        assert time.monotonic() < deadline, (spec.work / "out").read_text()
        assert process is None or process.poll() is None, (spec.work / "out").read_text()
        time.sleep(0.005)


def test_killed_and_stopped_again_and_again_it_ends_with_the_same_weights(tmp_path):
    write_shards(tmp_path / "shards")
    straight = trainer_spec(tmp_path, steps=120, work=tmp_path / "straight")
    killed = trainer_spec(tmp_path, steps=120, work=tmp_path / "killed")
    run(straight)
    for number, step in ((signal.SIGKILL, 3), (signal.SIGTERM, 21)):
        process = start(killed)
        wait_for_step(killed, step, process)
        process.send_signal(number)
        assert process.wait(60) == (STOPPED if number == signal.SIGTERM else -number)
        if number == signal.SIGTERM:
            last = records(killed)[-1]["step"]
            assert checkpoint_steps(killed)[-1] == last < 120
            assert (killed.work / FAILURE).read_text().startswith(f"stopped after step {last} of 120 by SIGTERM")
    assert main_here(killed.work / "spec.json") == 0
    assert weights(killed) == weights(straight)
    assert [r["loss"] for r in records(killed)] == [r["loss"] for r in records(straight)]
    assert [r["step"] for r in records(killed)] == list(range(1, 121))
    assert not (killed.work / FAILURE).exists()


@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp2"])
def test_one_two_one_ranks_see_the_same_batches_and_agree(tmp_path, parallel):
    write_shards(tmp_path / "shards")
    straight = trainer_spec(tmp_path, steps=60, work=tmp_path / "straight")
    moved = trainer_spec(tmp_path, steps=60, work=tmp_path / "moved", parallel=parallel, micro_batch=3)
    run(straight)
    run(moved, StopAfter(7))
    process = start(moved, ranks=2)
    wait_for_step(moved, 25, process)
    process.terminate()  # torchrun forwards it
    assert process.wait(90) == 1
    stopped_at = checkpoint_steps(moved)[-1]
    assert 25 <= stopped_at == records(moved)[-1]["step"] < 60
    assert f"stopped after step {stopped_at} of 60 by SIGTERM" in (moved.work / "out").read_text()
    run(moved)
    ours, theirs = records(moved), records(straight)
    assert [r["batch"] for r in ours] == [r["batch"] for r in theirs]
    assert [r["loss"] for r in ours] == pytest.approx([r["loss"] for r in theirs], abs=2e-3)
    assert [r["grad_norm"] for r in ours[:30]] == pytest.approx([r["grad_norm"] for r in theirs[:30]], rel=2e-2)
    measured = [r["validation_loss"] for r in ours if "validation_loss" in r]
    assert measured == pytest.approx([r["validation_loss"] for r in theirs if "validation_loss" in r], abs=2e-3)


def test_a_rank_that_is_killed_ends_them_all_and_the_run_goes_on(tmp_path):
    spec = trainer_spec(tmp_path, steps=300)
    process = start(spec, ranks=2)
    wait_for_step(spec, 10, process)
    os.kill(json.loads((spec.work / "trainer.1.lock").read_text())["pid"], signal.SIGKILL)
    assert process.wait(60) != 0
    assert not any(is_held(path) for path in spec.work.glob("trainer.*.lock"))
    assert run(spec, StopAfter(5)).step >= 8 + 5


def test_the_death_of_torchrun_stops_its_workers(tmp_path):
    spec = trainer_spec(tmp_path, steps=100_000, checkpoint_every=50_000)
    process = start(spec, ranks=2)
    wait_for_step(spec, 3, process)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(is_held(path) for path in spec.work.glob("trainer.*.lock")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    reason = (spec.work / FAILURE).read_text()
    assert "by the end of its launcher" in reason or "by a request to another rank" in reason
    assert checkpoint_steps(spec) == [records(spec)[-1]["step"]]


def test_two_trainers_in_one_folder_are_one_too_many(tmp_path, capsys):
    spec = trainer_spec(tmp_path, steps=100_000)
    first = start(spec)
    try:
        wait_for_step(spec, 1, first)
        first.send_signal(signal.SIGSTOP)  # it leaves the processor to the second one
        assert main_here(spec.work / "spec.json") == 1
        assert "another process is at work here" in capsys.readouterr().err
        first.send_signal(signal.SIGCONT)
        wait_for_step(spec, len(records(spec)) + 1, first)
    finally:
        first.kill()
        first.wait()


def test_a_broken_specification_names_file_and_field(tmp_path):
    path = tmp_path / "spec.json"
    with pytest.raises(PedigreeError, match=r"spec\.json: can't be read"):
        read_spec(path)
    spec = trainer_spec(tmp_path)
    path.write_text(spec.model_dump_json().replace('"micro_batch":8', '"micro_batch":0,"colour":1'))
    with pytest.raises(PedigreeError, match=r"(?s)spec\.json: micro_batch: .*spec\.json: colour: "):
        read_spec(path)


def test_relative_paths_start_at_the_specification(tmp_path):
    spec = trainer_spec(tmp_path)
    path = tmp_path / "spec.json"
    path.write_text(spec.model_dump_json().replace(f"{tmp_path}/", ""))
    assert (read_spec(path).shards, read_spec(path).work) == (tmp_path / "shards", tmp_path / "work")
