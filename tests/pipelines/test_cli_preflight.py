import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm_core.experiment.runtime import ComputeSpec
from llm_core.train import capabilities
from llm_core.train.devices.cuda import CUDA
from llm_core.train.matmul_rates import MatmulRates
from llm_core.train.spec import read_spec
from pipelines import machine, show
from pipelines.cli import app
from pipelines.resources import ComputeResource
from pipelines.session import open_session

EXPERIMENTS = Path(__file__).parents[2] / "pipelines" / "experiments"


@pytest.fixture(autouse=True)
def _home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(CUDA, "count", lambda: 0)


def test_a_laptop_writes_what_the_gpu_machine_reads(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    done = CliRunner().invoke(app, ["preflight", "one_billion", "--write", str(path), "--work", "w"])
    assert done.exit_code == 0, done.output
    spec, experiment = read_spec(path), open_session("one_billion").experiment
    assert (spec.training, spec.model, spec.seed) == (experiment.training, experiment.model, experiment.seed)
    assert (spec.shards, spec.work) == (tmp_path / "token_shards", tmp_path / "w")


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "spec.json"
    done = CliRunner().invoke(app, ["preflight", "one_billion", "--write", str(path)])
    assert done.exit_code == 1
    assert "can't be written: No such file" in done.output


@pytest.fixture
def _avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "measured_rates", lambda *_: MatmulRates(fp32=41e9, bf16=0.42e9))


def invoke(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == code, done.output
    return done.output


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(f"extends: {EXPERIMENTS / 'tiny'}\n{text}\n")
    return str(path)


def test_one_card_is_planned_on_a_machine_without_any(tmp_path: Path) -> None:
    mine = written(tmp_path, "training: {precision: bf16}\ncompute: {price_per_gpu_hour: 0.5}")
    report = json.loads(invoke("preflight", mine, "--device", "rtx pro 4500", "--json"))
    assert (report["hardware"], report["ranks"]) == ("1 × RTX PRO 4500 (32 GB)", 1)
    assert report["device_memory"] == 32_000_000_000
    assert report["hours"] == pytest.approx(report["flops"] / (219.7e12 * 0.4) / 3600)
    assert report["cost"] == pytest.approx(report["hours"] * 0.5)
    two = json.loads(invoke("preflight", mine, "--device", "rtx pro 4500", "--devices", "2", "--json"))
    assert two["hours"] == pytest.approx(report["hours"] / 2)
    described = written(tmp_path, "compute: {device: {name: Card, memory_gb: 48, tflops_bf16: 100}, devices: 4}")
    assert "on 4 × Card (48 GB)" in invoke("preflight", described)


def test_a_device_that_contradicts_the_experiment_is_an_error(tmp_path: Path) -> None:
    assert "there is no device 'RTX 9999' in the table: A100 40GB" in invoke(
        "preflight", "one_billion", "--device", "RTX 9999", code=1
    )
    assert "compute: devices 2 goes with device" in invoke("preflight", "one_billion", "--devices", "2", code=1)
    ranks = written(tmp_path, "compute: {ranks: 2}")
    assert "compute: ranks 2 on devices 1" in invoke("plan", ranks, "--device", "H100", code=1)


@pytest.mark.usefixtures("_avx2")
def test_the_slower_precision_is_told_by_preflight_and_plan(tmp_path: Path) -> None:
    mine = written(tmp_path, "training: {precision: bf16}\nstudy: {training: {precision: bf16}}")
    told = "training.precision bf16 is slow on CPU"
    assert told in invoke("preflight", mine)
    plan = invoke("plan", mine)
    assert plan.count(f"note {told}") == plan.count(f"note study.{told}") == 1
    assert "0.4 GFLOP/s in bf16, and at 41 GFLOP/s in fp32 on one core; write precision: fp32" in plan
    records = {record["stage"]: record["notes"] for record in json.loads(invoke("plan", mine, "--json"))}
    assert any(told in note for note in records["pretrained_model"])
    assert not records["token_shards"]
    assert "is slow on" not in invoke("plan", "tiny")


@pytest.mark.usefixtures("_avx2")
def test_a_run_says_it_before_any_work_and_refuses_a_device_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    monkeypatch.setattr(show, "materialize", lambda _planner, name, _runtime, **_: made.append(name))
    fp8 = written(tmp_path, "training: {precision: fp8}\ncompute: {compile: true}")
    output = invoke("run", fp8, code=1)
    assert "training.precision fp8: CPU" in output
    assert "Stages without training can be made here" in output
    elsewhere = written(tmp_path, "compute: {device: H200}")
    assert "the run is planned for 1 × H200, and this machine is CPU" in invoke("run", elsewhere, code=1)
    assert "the run is planned for 1 × H200, and this machine is CPU" in invoke("plan", elsewhere)
    assert not made
    slow = written(tmp_path, "training: {precision: bf16}")
    with pytest.raises(AttributeError):  # of the stage that is not made
        CliRunner().invoke(app, ["run", slow], catch_exceptions=False)
    assert made == ["raw_documents"]


def test_stages_that_do_not_train_need_no_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "measured_rates", lambda *_: pytest.fail("measured"))
    elsewhere = written(tmp_path, "compute: {device: H200}")
    session = open_session(elsewhere)
    assert machine.before_run(session, session.planner().plan({"token_shards"})) == ()


def test_a_planned_device_reaches_a_run_in_dagster() -> None:
    for fields in ({}, {"device": "L40S", "devices": 2}, {"device": {"name": "X", "memory_gb": 1, "tflops_bf16": 2}}):
        compute = ComputeSpec.model_validate(fields)
        assert ComputeResource(**compute.model_dump()).spec() == compute


def test_a_bundle_needs_what_it_names(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["preflight", "tiny", "--write", str(tmp_path / "away")])
    assert done.exit_code == 1
    assert "must be made first: pedigree run tiny --select token_shards --select tokenizer" in done.output
    assert not (tmp_path / "away").exists()


def test_what_is_no_run_is_not_adopted(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["adopt", str(tmp_path)])
    assert done.exit_code == 1
    assert "contains no run" in done.output
