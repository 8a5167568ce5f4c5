"""The asset's process, the trainer, and both, killed with -9 through Dagster; and what the next run makes of it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.pipelines.conftest import World, copy_of

STEPS = 240


def longer(world: World) -> World:
    world.edit("tokens: 2560", f"tokens: {STEPS * 128}")
    return world


def metrics(world: World) -> int:
    """Steps that the live run has written."""
    return sum(len(path.read_bytes().splitlines()) for path in world.folder.glob("home/store/work/*/*/metrics.jsonl"))


def trainers(world: World) -> list[int]:
    """The processes that work in this world's work folder."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if str(world.folder).encode() in command and b"spec.json" in command:
                found.append(int(folder.name))
    return found


def start(world: World) -> subprocess.Popen[bytes]:
    command = ["dagster", "asset", "materialize", "-m", "pipelines.custom", "--select", "micro/pretrained_model"]
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=world.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(*processes: int) -> None:
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue


def until_step(world: World, process: subprocess.Popen[bytes], step: int) -> None:
    deadline = time.monotonic() + 120
    while metrics(world) < step:
        assert process.poll() is None, "the run ended before it was to be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def content(world: World) -> str:
    sql = f"SELECT content FROM artifacts WHERE stage = 'pretrained_model' AND stats.steps::INT = {STEPS}"
    ((row),) = json.loads(world.pedigree("query", sql, "--json"))
    return str(row["content"])


def test_kills_at_any_point_change_no_weight(finished: World, tmp_path: Path) -> None:
    world = longer(copy_of(finished, tmp_path / "killed"))

    process = start(world)
    until_step(world, process, 40)
    kill(*trainers(world))
    assert process.wait(60) != 0  # the asset tells that its trainer was killed

    process = start(world)
    until_step(world, process, 90)
    kill(process.pid)
    process.wait(60)

    process = start(world)  # ends the orphan, if it has not ended by itself, and goes on
    until_step(world, process, 150)
    kill(process.pid, *trainers(world))
    process.wait(60)
    assert world.plan()["pretrained_model"]["verdict"] == "run"

    done = world.run("pipelines.cli", "run", str(world.experiment), "--select", "pretrained_model")
    assert done.returncode == 0, done.stderr
    undisturbed = longer(copy_of(finished, tmp_path / "undisturbed"))
    undisturbed.edit("compute: {checkpoint", "compute: {target: in_process, checkpoint")
    undisturbed.pedigree("run", str(undisturbed.experiment), "--select", "pretrained_model")
    assert content(world) == content(undisturbed)
    assert not trainers(world)
