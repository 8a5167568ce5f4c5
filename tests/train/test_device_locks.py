"""Locks of devices, with GPUs that are made up: a lock needs none."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.train import device_locks as module
from llm_core.train.device_locks import Device, reserved, used
from llm_core.train.devices.cpu import DEVICE as CPU
from llm_core.train.devices.cuda import CUDA
from llm_core.train.locks import is_held

GPUS = [Device(f"GPU {number}", f"GPU-{number}-uuid", str(number)) for number in range(4)]


@pytest.fixture(autouse=True)
def _locks(tmp_path, monkeypatch):
    monkeypatch.setenv("PEDIGREE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.01)


def hold_elsewhere(count, names, what="rate_runs/other", **environment):
    code = f"""
        import sys, time
        from llm_core.train.device_locks import Device, reserved
        devices = [Device(f"GPU {{n}}", f"GPU-{{n}}-uuid", str(n)) for n in {names!r}]
        with reserved(devices, {count}, {what!r}, lambda line: print(line, flush=True)) as taken:
            print(*(device.name for device in taken), flush=True)
            time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, env={**os.environ, **environment}
    )
    return process, process.stdout.readline().decode().strip()


def end(process):
    process.kill()
    process.wait()


def test_runs_take_the_first_free_devices_and_see_each_other_whatever_their_tmpdir(tmp_path):
    first, said = hold_elsewhere(1, [0, 1, 2, 3], TMPDIR=str(tmp_path))
    assert said == "GPU 0"
    with reserved(GPUS, 1, "b", pytest.fail) as one, reserved(GPUS, 2, "c", pytest.fail) as two:
        assert [device.name for device in one] == ["GPU 1"]
        assert [device.name for device in two] == ["GPU 2", "GPU 3"]
        assert CUDA.environment(two) == {"CUDA_VISIBLE_DEVICES": "2,3"}
    end(first)
    with reserved(GPUS, 4, "all", pytest.fail) as taken:
        assert list(taken) == GPUS
    assert not any(is_held(device.lock) for device in GPUS)


def test_waiting_says_for_whom_and_how_long_and_holds_nothing_meanwhile(monkeypatch):
    monkeypatch.setattr(module, "_TOLD_AGAIN_SECONDS", (0.3, 1.0))
    process, _ = hold_elsewhere(1, [1])
    lines, seen = [], threading.Event()

    def log(line):
        lines.append(line)
        if len(lines) == 2:
            assert not is_held(GPUS[0].lock), "who waits has no device"
            end(process)
            seen.set()

    with reserved(GPUS[:2], 2, "tiny/pretrained_model", log) as taken:
        assert list(taken) == GPUS[:2]
    assert seen.is_set()
    assert lines[0].startswith("tiny/pretrained_model: waiting for all 2 GPUs: GPU 1 is held by process ")
    assert f"process {process.pid} on " in lines[0]
    assert "(rate_runs/other, user " in lines[0]
    assert "GPU 0" not in lines[0], "nobody has it"
    assert "for 0 s so far" in lines[1]
    assert lines[2].startswith("GPU 0 and GPU 1 free after ")


def test_two_that_want_all_never_wait_for_each_other():
    """Each takes all or none, so that no two hold half and wait for the rest."""
    done = []

    def train():
        for _ in range(20):
            with reserved(GPUS, 4, "x", lambda _: None):
                done.append(1)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 80


def test_the_descriptors_keep_the_locks_for_a_trainer_that_outlives_its_launcher():
    with reserved(GPUS, 1, "x", pytest.fail) as taken:
        trainer = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=taken.values())
    assert is_held(GPUS[0].lock)
    end(trainer)
    assert not is_held(GPUS[0].lock)


def test_a_holder_that_has_ended_is_told_as_such(tmp_path):
    code = """
        import os, subprocess, sys
        from llm_core.train.device_locks import reserved
        from llm_core.train.devices.cpu import DEVICE as CPU
        with reserved([CPU], 1, "x", print) as taken:
            child = subprocess.Popen(
                [sys.executable, "-c", "input()"], stdin=0, stdout=2, pass_fds=taken.values()
            )
            print(child.pid, flush=True)
            os._exit(0)
    """
    keep, write = os.pipe()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=keep, stdout=subprocess.PIPE, check=True, timeout=60
    )
    lines = []

    def log(line):
        lines.append(line)
        os.close(write) if len(lines) == 1 else None

    os.close(keep)
    with reserved([CPU], 1, "y", log):
        pass
    assert int(done.stdout)
    assert "waiting for this machine's CPU: this machine's CPU is held by process" in lines[0]
    assert "which has ended" in lines[0]


def test_a_trainer_by_itself_shows_its_device_and_is_told_of_others():
    with used(GPUS[0], "run", pytest.fail):
        assert is_held(GPUS[0].lock)
        lines = []
        with used(GPUS[0], "other", lines.append):
            pass
        assert f"GPU 0 is in use already, by process {os.getpid()}" in lines[0]
        assert is_held(GPUS[0].lock)
    assert not is_held(GPUS[0].lock)


def test_a_place_that_can_not_be_used_is_named_with_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PEDIGREE_LOCKS", str(tmp_path / "file" / "locks"))
    message = r"file/locks/.*can't be used as a lock.*set PEDIGREE_LOCKS to a folder"
    with pytest.raises(PedigreeError, match=message), reserved([CPU], 1, "x", pytest.fail):
        pass
    lines = []
    with used(CPU, "x", lines.append):
        pass
    assert "others can't see that this machine's CPU is in use" in lines[0]


def test_the_place_is_fixed_and_for_all_users(tmp_path, monkeypatch):
    with reserved([CPU], 1, "x", pytest.fail):
        assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777
        assert json.loads(CPU.lock.read_bytes())["what"] == "x"
    monkeypatch.delenv("PEDIGREE_LOCKS")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert str(CPU.lock) == "/tmp/pedigree-device-cpu.lock"


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (None, ["0", "1", "2"]),
        ("2, 0,1", ["2", "0", "1"]),
        ("GPU-b,GPU-a,GPU-c,9", ["GPU-b", "GPU-a", "GPU-c"]),
        ("MIG-x/1,MIG-y,MIG-z", ["MIG-x/1", "MIG-y", "MIG-z"]),
    ],
)
def test_a_choice_among_visible_gpus_keeps_their_names_and_locks_the_devices_themselves(monkeypatch, listed, names):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"{number}-of-three"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if listed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    found = CUDA.devices()
    assert [device.visible for device in found] == names
    keys = names if listed and listed.startswith("MIG") else [f"GPU-{number}-of-three" for number in range(3)]
    assert [device.key for device in found] == keys
    assert len({device.lock for device in found}) == 3
    assert all(device.lock.parent.name == "locks" for device in found)
