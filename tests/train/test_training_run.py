import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, models

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec, TrackingSpec
from llm_core.graph.job import Job, Runtime
from llm_core.model.files import load_model
from llm_core.store.manifest import Artifact
from llm_core.train.launching import rank_count
from llm_core.train.locks import is_held
from llm_core.train.spec import FAILURE
from llm_core.train.training_run import (
    BRANCH_POINTS,
    build,
    build_branch,
    build_longer,
    training_stats,
)
from llm_core.train.validation_windows import WINDOWS
from llm_core.train.work_folder import recorded_outputs
from tests.judged import judged
from tests.pipelines.in_process import InProcess
from tests.train.runs import (
    VOCABULARY,
    checkpoint_steps,
    model_spec,
    records,
    run,
    trainer_spec,
    training_spec,
    weights,
)
from tests.train.test_loop import StopAfter

HERE = ComputeSpec(checkpoint_every=4).model_copy(update={"target": InProcess()})
"""Trains in this process: for tests of what is around a training."""


@pytest.fixture(autouse=True)
def _machine_of_its_own(tmp_path, monkeypatch):
    """Do not wait for other trainings on this machine."""
    monkeypatch.setenv("PEDIGREE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def made_tokenizer(folder) -> Path:
    """A tokenizer for the generated ids."""
    path = folder / "tokenizer" / "tokenizer.json"
    path.parent.mkdir(exist_ok=True)
    words = {f"w{number}": number for number in range(VOCABULARY)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(path))
    return path.parent


def job_in(folder, **runtime) -> Job:
    spec = trainer_spec(folder)
    out = spec.work / "out_folder"
    out.mkdir(parents=True, exist_ok=True)
    runtime.setdefault("compute", ComputeSpec(checkpoint_every=4))
    tokenizer = made_tokenizer(folder)
    inputs = {"shards": Artifact(spec.shards, None), "tokenizer": Artifact(tokenizer, None)}
    return Job("pretrained_model", "identity", inputs, spec.work, out, Runtime(**runtime))


def sections(steps=10, **training):
    return {"model": model_spec(), "training": training_spec(steps, **training), "vocab_size": VOCABULARY, "seed": 7}


def test_a_run_goes_on_and_becomes_an_artifact_with_live_metrics(tmp_path):
    observed, progressed, said = [], [], []
    samples = {"every": 20, "documents": 1, "prompt_tokens": 4, "new_tokens": 4}
    tracking = TrackingSpec(callbacks={"samples": samples})
    job = job_in(
        tmp_path,
        observe=observed.append,
        progress=lambda *done: progressed.append(done),
        status=said.append,
        tracking=tracking,
    )
    run(trainer_spec(tmp_path, steps=30), StopAfter(7))
    stats = build(job, **sections(30)).model_dump()
    files = ["metrics.jsonl", "model.json", "model.safetensors", "samples.jsonl", WINDOWS]
    assert sorted(path.name for path in job.out.iterdir()) == files
    (sample,) = json.loads((job.out / "samples.jsonl").read_text().splitlines()[0])["samples"]
    assert sample["text"] == " ".join(f"w{number}" for number in sample["prompt"] + sample["continuation"])
    assert len((job.out / "metrics.jsonl").read_text().splitlines()) == 30
    assert load_model(job.out)[1]["step"] == 30
    assert (observed[-1]["step"], progressed[-1]) == (30, (30, 30, "steps"))
    assert {"loss", "validation_loss", "tokens_per_second"} <= observed[-1].keys()
    assert said[0] == "starting the trainer"
    assert set(said[1:]) <= {"starting the trainer", "the first step"}
    assert (
        stats.items()
        >= {
            "steps": 30,
            "tokens": 7680,
            "planned_tokens": 7680,
            "skipped_steps": 0,
            "ranks": 1,
            "parameters": 28_192,
            "mfu": None,
        }.items()
    )
    assert stats["device"].startswith("CPU")
    assert json.loads(json.dumps(stats)) == stats
    assert all(check.passed for check in judged("pretrained_model", stats)), judged("pretrained_model", stats)
    straight = trainer_spec(tmp_path, steps=30, work=tmp_path / "straight")
    run(straight)
    assert (job.out / "model.safetensors").read_bytes() == weights(straight)


@pytest.fixture
def launched(tmp_path):
    """A process that builds the stage, as an asset does, and has trained some of many steps; and its spec."""
    order = tmp_path / "order"  # pickled, so that the process need not import torch to describe it
    order.write_bytes(pickle.dumps((job_in(tmp_path), sections(100_000))))
    code = f"""
        import pickle, signal
        from pathlib import Path
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may have been started with it ignored
        from llm_core.train.training_run import build
        job, sections = pickle.loads(Path({str(order)!r}).read_bytes())
        build(job, **sections)
    """
    spec = trainer_spec(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], start_new_session=True)
    try:
        deadline = time.monotonic() + 90
        while not (spec.work / "metrics.jsonl").exists() or len(records(spec)) < 3:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        yield process, spec
    finally:
        process.kill()  # its trainer ends with it
        process.wait()


def trainers_of(spec) -> list[int]:
    """Running processes with the specification of the work folder in their command."""
    path = str(spec.work / "spec.json").encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if path in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def wait_until_gone(spec, seconds=60):
    deadline = time.monotonic() + seconds
    while trainers_of(spec):
        assert time.monotonic() < deadline, trainers_of(spec)
        time.sleep(0.1)


def test_a_killed_launcher_takes_its_trainer_along_with_a_checkpoint(launched):
    process, spec = launched
    assert len(trainers_of(spec)) == 1
    process.kill()
    process.wait()
    wait_until_gone(spec)
    assert checkpoint_steps(spec)[-1] == records(spec)[-1]["step"]
    assert "by the end of its launcher" in (spec.work / FAILURE).read_text()


def test_an_interrupted_launcher_stops_its_trainer_before_it_ends(launched):
    process, spec = launched
    process.send_signal(signal.SIGINT)
    process.wait(90)
    assert not trainers_of(spec)
    assert checkpoint_steps(spec)[-1] == records(spec)[-1]["step"]


def test_a_trainer_and_launcher_that_are_killed_leave_nothing_that_hinders(tmp_path, launched):
    process, spec = launched
    trainer = json.loads((spec.work / "trainer.0.lock").read_text())["pid"]
    os.kill(trainer, signal.SIGKILL)
    process.kill()
    process.wait()
    wait_until_gone(spec)
    deadline = time.monotonic() + 60
    while is_held(spec.work / "trainer.0.lock"):  # the kernel closes files after it frees memory
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert run(trainer_spec(tmp_path, steps=100_000), StopAfter(2)).step == checkpoint_steps(spec)[-1]


def test_a_trainer_that_hangs_is_ended(tmp_path, monkeypatch):
    spec, hung = trainer_spec(tmp_path), []

    def hang(metrics):
        if not hung:
            hung.append(json.loads((spec.work / "trainer.0.lock").read_text())["pid"])
            os.kill(hung[0], signal.SIGSTOP)

    monkeypatch.setattr("llm_core.train.launching._STOP_SECONDS", 1)
    monkeypatch.setattr("llm_core.train.launching.MetricsFollower.idle_seconds", lambda _: 901.0 if hung else 0.0)
    with pytest.raises(PedigreeError, match="made no progress for 900 s"):
        build(job_in(tmp_path, observe=hang), **sections(100_000))
    assert hung
    assert not trainers_of(spec)


def test_the_trainers_own_words_are_the_error(tmp_path):
    run(trainer_spec(tmp_path), StopAfter(2))
    with pytest.raises(
        PedigreeError, match=r"this folder belongs to another run: training\.optimizer\.lr is 0\.01 there and 0\.5 here"
    ):
        build(job_in(tmp_path), **sections(optimizer={"lr": 0.5}))
    (trainer_spec(tmp_path).work / "work.json").unlink()
    with pytest.raises(
        PedigreeError, match=r"(?s)checkpoint is of another run: training\.optimizer\.lr is .*trainer\.log"
    ):
        build(job_in(tmp_path), **sections(optimizer={"lr": 0.5}))


def test_what_users_put_into_the_work_folder_gets_not_into_the_artifact_and_stays(tmp_path):
    tracking = TrackingSpec(wandb="offline", callbacks={"profile": {"from_step": 2, "steps": 2}})
    job = job_in(tmp_path, tracking=tracking, compute=HERE)
    work = trainer_spec(tmp_path).work
    mine = [
        work / "profile" / "mine.json",
        work / "profile" / "steps_2_to_3.json",
        work / "wandb" / "offline-run-1-mine" / "run-mine.wandb",
        work / "final" / "mine.txt",
        work / "samples.jsonl",
        work / "metrics.jsonl",
        work / "wandb_run_id",
    ]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"step": 1, "mine": true}\n')
    build(job, **sections(4))
    shutil.copytree(work / "checkpoints" / "step_00000004", work / "checkpoints" / "step_00000012")
    (work / "checkpoints" / "step_00000004" / "note.txt").write_text("mine")
    later = [work / "profile" / "later.json", work / "final" / "later.txt"]
    for path in later:
        path.write_text("mine")
    build(job, **sections(4))
    kept = [path.relative_to(job.out).as_posix() for path in sorted(job.out.rglob("*")) if path.is_file()]
    identity = (work / "wandb_run_id").read_text()
    trackers = [
        name for name in kept if name.startswith("wandb/offline-run-") and name.endswith(f"run-{identity}.wandb")
    ]
    assert len(trackers) == 2
    rest = ["metrics.jsonl", "model.json", "model.safetensors", "profile/steps_2_to_3.json", WINDOWS]
    assert sorted({*kept} - {*trackers}) == rest
    assert "mine" not in (job.out / "metrics.jsonl").read_text()
    assert all(path.read_text() == "mine" for path in later)
    # The commit removes what this run wrote, but not a note in a checkpoint or a copy.
    own = json.loads((work / "own.json").read_text())
    assert [name for name in own if (work / name).is_dir()] == ["checkpoints", "checkpoints/step_00000004"]
    assert not any("mine" in name or "mine" in (work / name).read_text(errors="replace") for name in own if "." in name)
    files = [Path(name) for name in own if name.startswith("checkpoints/") and (work / name).is_file()]
    assert {path.parent.as_posix() for path in files} == {"checkpoints/step_00000004"}
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert {*kept} - {"model.json", "model.safetensors", WINDOWS} <= {*own}
    aside = [work / f"{top}.aside" / Path(*rest) for top, *rest in (path.relative_to(work).parts for path in mine)]
    assert all("mine" in path.read_text() for path in aside)
    (work / "profile" / "steps_2_to_3.json").write_text("edited")
    assert "profile/steps_2_to_3.json" not in [path.relative_to(work).as_posix() for path in recorded_outputs(work)]


def test_a_branch_point_holds_the_checkpoint_and_nothing_else(tmp_path):
    training = {"schedule": {"kind": "wsd"}, "branch_points": (3,)}
    job = job_in(tmp_path, compute=HERE)
    build(job, **sections(6, **training))
    kept = trainer_spec(tmp_path).work / "checkpoints" / "step_00000003"
    (kept / "mine.txt").write_text("mine")
    build(job, **sections(6, **training))
    names = sorted(path.name for path in (job.out / BRANCH_POINTS / "step_00000003").iterdir())
    assert names == ["checkpoint.json", "rank_0000.json", "rank_0000.safetensors"]
    kept.rename(kept.with_name("step_00000009"))
    with pytest.raises(PedigreeError, match="checkpoint of the branch point 3 is missing"):
        build(job, **sections(6, **training))


def test_a_trainer_that_a_full_memory_killed_is_told_as_such(tmp_path, monkeypatch):
    def killed(*_, **__):
        raise PedigreeError("torchrun ended with exit code 1; the last lines: Signal 9 (SIGKILL) received by PID 7")

    monkeypatch.setattr("llm_core.train.launching.run_group", killed)
    with pytest.raises(PedigreeError, match=r"killed from outside.* memory runs out .*: lower compute\.micro_batch"):
        build(job_in(tmp_path), **sections())


def test_what_cannot_be_trained_is_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("llm_core.train.launching.run_group", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(PedigreeError, match="can't be shared by 3 ranks"):
        build(job_in(tmp_path, compute=ComputeSpec(ranks=3)), **sections())
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(PedigreeError, match="WANDB_API_KEY"):
        build(job_in(tmp_path, tracking=TrackingSpec(wandb="online")), **sections())
    job = job_in(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(PedigreeError, match=r"/file: can't be used: something of that name is there already"):
        build(Job(job.stage, "", job.inputs, tmp_path / "file", job.out), **sections())


def test_ranks_follow_the_machine(monkeypatch):
    gpus = 0
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert rank_count(ComputeSpec()) == 1
    assert rank_count(ComputeSpec(ranks=2)) == 2
    assert rank_count(ComputeSpec(target="h100x8", ranks=2)) == 2
    with pytest.raises(PedigreeError, match="h100x8 needs 8 GPUs, but this machine has 0"):
        rank_count(ComputeSpec(target="h100x8"))
    gpus = 4
    assert rank_count(ComputeSpec()) == 4
    with pytest.raises(PedigreeError, match="ranks is 5, but this machine has 4"):
        rank_count(ComputeSpec(ranks=5))
    gpus = 8
    assert rank_count(ComputeSpec(target="h100x8")) == 8


def record(step, loss, **more):
    fields = {"tokens": step * 10, "tokens_per_second": 5.0, "seconds": 2.0, "skipped": loss is None}
    return {"step": step, "loss": loss, **fields, **more}


def test_a_branch_and_a_longer_context_begin_with_what_the_full_run_keeps(tmp_path):
    trunk = {"schedule": {"kind": "wsd"}, "branch_points": (3, 6)}
    job = job_in(tmp_path, compute=HERE)
    stats = build(job, **sections(8, **trunk)).model_dump()
    assert stats["start_validation_loss"] is None
    kept = sorted(path.name for path in (job.out / BRANCH_POINTS).iterdir())
    assert kept == ["step_00000003", "step_00000006"]

    def going_on(name):
        spec = trainer_spec(tmp_path, work=tmp_path / name)
        (spec.work / "out_folder").mkdir(parents=True)
        inputs = {**job.inputs, "start": Artifact(job.out, None)}
        return Job(f"cooldown_runs/{name}", "identity", inputs, spec.work, spec.work / "out_folder", job.runtime)

    cooled = {"schedule": {"kind": "wsd", "cooldown_steps": 4}}
    stats = build_branch(going_on("branch"), **sections(10, **cooled), from_step=6).model_dump()
    assert (stats["steps"], stats["tokens"], stats["planned_tokens"]) == (10, 2560, 2560)
    assert {check.name for check in judged("cooldown_runs/short", stats) if not check.passed} == set()
    stats = build_longer(going_on("longer"), **sections(3, sequence_length=64)).model_dump()
    assert stats["final_validation_loss"] < stats["start_validation_loss"] < 5.6
    with pytest.raises(PedigreeError, match=r"step_00000005: neither a checkpoint nor a model"):
        build_branch(going_on("none"), **sections(10, **cooled), from_step=5)
    # The state of step 3 is damaged: only its branch fails, and before it starts.
    part = f"{BRANCH_POINTS}/step_00000003/rank_0000.safetensors"
    damaged = going_on("damaged")
    trunk_made = Artifact(job.out, SimpleNamespace(stage="pretrained_model"))
    inputs = {**damaged.inputs, "start": trunk_made}
    damaged = replace(damaged, inputs=inputs, damaged_files={"start": {part: "it is damaged"}})
    with pytest.raises(PedigreeError, match=r"needs branch_points/step_00000003 .*run --force pretrained_model"):
        build_branch(damaged, **sections(10, **cooled), from_step=3)
    assert damaged.path("start", BRANCH_POINTS, "step_00000006").is_dir()


def test_the_statistics_of_a_run():
    found = [record(step, 5.0 - step / 10) for step in range(1, 40)]
    found[0]["loss"], found[0]["skipped"], found[0]["tokens_per_second"] = None, True, None
    rows = [*found, record(40, 1.0, validation_loss=1.5)]
    stats = training_stats(rows)
    assert stats.pop("curve") == training_stats([{**row, "seconds": 9.0} for row in rows])["curve"]
    assert stats == {
        "steps": 40,
        "tokens": 400,
        "first_loss": 4.8,
        "final_loss": pytest.approx((1.1 + 1.0) / 2),
        "final_validation_loss": 1.5,
        "skipped_steps": 1,
        "left_out_steps": 0,
        "tokens_per_second": 5.0,
        "seconds_training": 80.0,
    }


def test_a_skipped_step_at_the_end_leaves_a_final_loss():
    found = [record(step, 5.0 - step / 10) for step in range(1, 39)]
    last = record(40, 1.0, validation_loss=1.5)
    assert training_stats([*found, record(39, None), last])["final_loss"] == 1.0
    nothing = [record(39, None), record(40, None, validation_loss=None)]
    assert training_stats([*found, *nothing])["final_loss"] is None


GOOD = {
    "steps": 100,
    "tokens": 1000,
    "planned_tokens": 1000,
    "first_loss": 5.0,
    "final_loss": 3.0,
    "final_validation_loss": 3.1,
    "skipped_steps": 1,
}


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, set()),
        ({"final_loss": 4.95}, {"loss_fell"}),
        ({"final_loss": None}, {"loss_finite", "loss_fell"}),
        ({"final_validation_loss": None}, {"loss_finite", "loss_fell"}),
        ({"skipped_steps": 2}, {"bad_steps"}),
        ({"skipped_steps": 9, "left_out_steps": 8}, set()),
        ({"tokens": 900}, {"all_tokens_seen"}),
    ],
)
def test_checks(changes, failed):
    assert {check.name for check in judged("pretrained_model", {**GOOD, **changes}) if not check.passed} == failed
