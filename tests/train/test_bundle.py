"""The content of a bundle, and its checks on the machine that trains."""

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph.execute import materialize
from llm_core.graph.graph import Graph
from llm_core.graph.job import Runtime
from llm_core.graph.plan import Planner
from llm_core.train import bundle_check
from llm_core.train.bundle import requirements, write_bundle
from llm_core.train.spec import read_spec
from tests.train.bundles import Home, contents, reader, start
from tests.train.runs import main_here


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    home = Home(tmp_path_factory.mktemp("home"))
    home.make("token_shards", "tokenizer")
    return home


@pytest.fixture(scope="module")
def written(home, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "bundle"
    home.bundle(folder)
    return folder


@pytest.fixture
def bundle(written, tmp_path) -> Path:
    """A copy that tests may change."""
    return Path(shutil.copytree(written, tmp_path / "bundle"))


def test_it_holds_the_run_the_code_and_the_inputs(home, bundle, tmp_path):
    spec = read_spec(bundle / "spec.json")
    assert (spec.model, spec.training, spec.seed) == (
        home.experiment.model,
        home.experiment.training,
        home.experiment.seed,
    )
    assert spec.identity == home.planner().plan({"pretrained_model"})[-1].identity
    assert (spec.shards, spec.work) == (bundle / "token_shards", bundle / "run")
    assert (spec.shards / "shards.json").is_file()
    assert spec.tokenizer is not None
    assert spec.tokenizer.is_file()
    with zipfile.ZipFile(bundle / "code.zip") as archive:
        names = set(archive.namelist())
    assert {"llm_core/train/loop.py", "llm_core/train/bundle_check.py"} <= names
    assert not any("__pycache__" in name for name in names)
    home.bundle(tmp_path / "again")
    again = {name: data for name, data in contents(tmp_path / "again").items() if name != "fetch.txt"}
    assert again == {name: data for name, data in contents(bundle).items() if name != "fetch.txt"}


def test_large_inputs_stay_out_unless_asked_for(home, tmp_path):
    written = home.bundle(tmp_path / "bundle", include=False)
    assert not (tmp_path / "bundle" / "token_shards").exists()
    assert (tmp_path / "bundle" / "tokenizer" / "tokenizer.json").is_file()
    ((folder, size),) = written.to_fetch.values()
    text = (tmp_path / "bundle" / "fetch.txt").read_text()
    assert f"{folder}/ MACHINE:bundle/token_shards/" in text
    assert f"{size:,} bytes" in text
    assert "--include 'checkpoints/step_00000006/***'" in text
    done = start(tmp_path / "bundle")
    assert done.returncode == 1
    assert "token_shards/shards.json is missing: fetch.txt says where to copy it from" in done.stderr
    assert not (tmp_path / "bundle" / "run").exists()


def test_it_needs_its_inputs_and_a_new_folder(home, bundle, tmp_path):
    with pytest.raises(PedigreeError, match="already exists; name a new folder"):
        home.bundle(bundle)
    with pytest.raises(
        PedigreeError, match="no training run 'tokenizer'; known: pretrained_model, cooldown_runs/short"
    ):
        home.bundle(tmp_path / "other", "tokenizer")
    with pytest.raises(PedigreeError, match="made first: pedigree run away --select pretrained_model"):
        home.bundle(tmp_path / "other", "cooldown_runs/short")
    with pytest.raises(PedigreeError, match=r"pedigree run away --select token_shards --select tokenizer"):
        Home(tmp_path / "empty").bundle(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_bundle_launches_a_run_so_it_waits_for_the_gate(home, tmp_path):
    def write(planner: Planner, name: str) -> Path:
        return write_bundle(planner, home.experiment, "pretrained_model", tmp_path / name, include=False).folder

    with pytest.raises(PedigreeError, match="pretrained_model needs gates that are missing"):
        write(home.gated(), "unknown")
    gate = materialize(home.gated(), "gate", Runtime()).artifact.manifest
    with pytest.raises(PedigreeError, match="pretrained_model does not start:\ngate gate is closed"):
        write(home.gated(forbidden=gate.stats["value"] % 11), "closed")
    bundle = read_spec(write(home.gated(), "open") / "spec.json").bundle
    assert bundle is not None
    (record,) = bundle.gates
    assert (record["identity"], record["passed"]) == (gate.identity, "open")


def test_the_script_is_bash_and_checks_before_it_trains(bundle):
    subprocess.run(["bash", "-n", str(bundle / "run.sh")], check=True)
    done = start(bundle, "check")
    assert done.returncode == 0, done.stderr
    assert "all files are there" in done.stdout
    assert not (bundle / "run").exists()
    flipped = bytearray((bundle / "code.zip").read_bytes())
    flipped[1000] ^= 1
    (bundle / "code.zip").write_bytes(flipped)
    shutil.rmtree(bundle / "code")
    done = start(bundle, "check")
    assert done.returncode == 1
    assert "code.zip is damaged or changed: copy it again" in done.stderr


@pytest.mark.parametrize(
    ("ranks", "command"),
    [
        ("1", "-m llm_core.train spec.json\n"),
        ("2", "-m torch.distributed.run --standalone --nproc-per-node 2 -m llm_core.train spec.json\n"),
    ],
)
def test_only_several_ranks_need_torchrun(bundle, tmp_path, ranks, command):
    python = tmp_path / "python"  # says how the trainer is started, and does the rest
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *--torch) ;; *"train spec.json") echo "$@" ;; *) exec {sys.executable} "$@" ;; esac\n'
    )
    python.chmod(0o755)
    done = start(bundle, PYTHON=str(python), RANKS=ranks)
    assert (done.returncode, done.stdout) == (0, command), done.stderr


def test_the_trainer_refuses_other_code_and_other_inputs(bundle):
    zipfile.ZipFile(bundle / "code.zip").extractall(bundle / "code")
    source = bundle / "code" / "llm_core" / "train" / "schedules" / "wsd.py"
    source.write_text(source.read_text() + "\nMORE = 1\n")
    done = start(bundle)
    assert done.returncode == 1
    assert "schedules/wsd.py: not the code of the bundle" in (bundle / "run" / "failure.txt").read_text()
    (shard, *_) = sorted((bundle / "token_shards" / "train").glob("*.bin"))
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    assert main_here(bundle / "spec.json") == 1
    assert f"{shard.name}: its content differs from the bundle" in (bundle / "run" / "failure.txt").read_text()
    assert not (bundle / "run" / "metrics.jsonl").exists()


def test_the_check_counts_gpus_and_the_disk(bundle, monkeypatch, capsys):
    path = str(bundle / "spec.json")
    assert bundle_check.main([path, "--disk", str(10**18)]) == 1
    assert "GB are free, and checkpoints and weights need 1000000000.0 GB" in capsys.readouterr().err
    monkeypatch.setattr(bundle_check.shutil, "which", lambda name: name)
    listed = subprocess.CompletedProcess([], 0, stdout="GPU 0: one\nGPU 1: two\n")
    monkeypatch.setattr(bundle_check.subprocess, "run", lambda *_, **__: listed)
    assert bundle_check.main([path, "--gpus", "2"]) == 0
    assert bundle_check.main([path, "--gpus", "8"]) == 1
    assert "8 GPUs are needed, and this machine has 2" in capsys.readouterr().err
    assert bundle_check.main([path, "--gpus", "8", "--torch"]) == 1
    (bundle / "token_shards" / "shards.json").write_text("{}")
    assert bundle_check.main([path]) == 1
    assert "has 2 bytes instead of" in capsys.readouterr().err


def test_versions_are_pinned(bundle, tmp_path):
    spec = read_spec(bundle / "spec.json")
    (tmp_path / "constraints.txt").write_text("# pins\ntorch==9.1\nPydantic==8.2  # a reason\n")
    lines = requirements(spec, tmp_path / "constraints.txt").splitlines()
    assert lines[:1] == ["torch==9.1"]
    assert "pydantic==8.2" in lines
    assert all("==" in line for line in lines)
    assert any(line.startswith("tokenizers==") for line in lines)  # samples have text
    assert not any(line.startswith("torchao==") for line in lines)
    (tmp_path / "constraints.txt").write_text("torchao==7.3\n")
    in_fp8 = spec.model_copy(update={"training": spec.training.model_copy(update={"precision": "fp8"})})
    assert "torchao==7.3" in requirements(in_fp8, tmp_path / "constraints.txt").splitlines()


def test_the_check_of_a_bundle_needs_no_library():
    code = "import sys, llm_core.train.bundle_check; print(*sys.modules)"
    done = subprocess.run(["python3", "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pydantic"} & set(done.stdout.split())


def test_the_record_is_json_of_the_run(bundle):
    content = json.loads((bundle / "spec.json").read_text())["bundle"]
    assert content["stage"] == "pretrained_model"
    assert set(content["inputs"]) == {"shards", "tokenizer"}


def test_a_variants_own_compute_goes_with_it(home, tmp_path):
    planner = home.planner()
    stage = planner.graph["pretrained_model"]
    compute = {"micro_batch": 2, "activation_checkpointing": "full"}
    graph = Graph("away", [replace(item, compute=compute) if item is stage else item for item in planner.graph])
    planner = Planner(graph, home.store, reader(home.code), {})
    bundle = write_bundle(planner, home.experiment, "pretrained_model", tmp_path / "bundle", include=False)
    spec = read_spec(bundle.folder / "spec.json")
    assert (spec.micro_batch, spec.activation_checkpointing, bundle.report.micro_batch) == (2, "full", 2)
