"""The estimated cost of training runs."""

from pathlib import Path
from typing import Any

import pytest

from assets import study, training
from llm_core.experiment.base import canonical
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.load import load_experiment
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.price import Price, price
from llm_core.graph.stage import Stage
from llm_core.train import cost_estimate as module
from llm_core.train.cost_estimate import estimate_cost
from llm_core.train.hardware import Hardware
from llm_core.train.preflight import preflight, run_flops
from tests.train.runs import model_spec, training_spec

FOLDER = Path(__file__).parents[2] / "pipelines" / "experiments"


@pytest.fixture(scope="module")
def one_billion() -> Experiment:
    return load_experiment(FOLDER / "one_billion.yaml")


def stage(stages: list[Stage], name: str) -> Stage:
    return next(stage for stage in stages if stage.name == name)


def test_the_full_run_costs_what_preflight_says(one_billion: Experiment) -> None:
    report = preflight(one_billion)
    found = price(stage(training.stages(one_billion), "pretrained_model"), None, one_billion.compute)
    assert (found.hours, found.source) == (report.hours, "preflight")
    assert found.dollars == pytest.approx(report.cost)
    assert found.dollars


def test_the_runs_of_a_study_have_prices_of_their_own() -> None:
    experiment = load_experiment(FOLDER / "tiny.yaml")
    compute = ComputeSpec(target="h100x8", price_per_gpu_hour=2.0)
    found = {
        stage.name: price(stage, None, compute)
        for stage in [*training.stages(experiment), *study.stages(experiment)]
        if stage.trains
    }
    full, small = found["pretrained_model"], found["idea_runs/no_qk_norm/width_64"]
    assert full.hours is not None
    assert small.hours is not None
    assert small.hours < full.hours
    assert full.dollars == pytest.approx(full.hours * 16)


def run(**more: Any) -> dict[str, Any]:
    return {"model": model_spec(), "training": training_spec(100), "vocab_size": 300, "seed": 7, **more}


def test_the_work_beside_that_of_the_last_time() -> None:
    before = {name: canonical(value) for name, value in run().items()}
    assert estimate_cost(ComputeSpec(), before, **run()).ratio == 1.0
    assert estimate_cost(ComputeSpec(), before, **run(training=training_spec(250))).ratio == pytest.approx(2.5)
    assert estimate_cost(ComputeSpec(), before, **run(from_step=75)).ratio == pytest.approx(0.25)
    assert estimate_cost(ComputeSpec(), before, **run(seed=8)).ratio == 1.0
    assert estimate_cost(ComputeSpec(), {"model": {"was": "another"}}, **run()).ratio is None


def test_a_branch_pays_for_its_own_steps_alone() -> None:
    whole = run_flops(model_spec(), training_spec(100), 300)
    assert run_flops(model_spec(), training_spec(100), 300, 90) == pytest.approx(whole / 10)


def test_nobody_knows_what_a_machine_without_a_known_peak_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Hardware("CPU with 2 cores", devices=1, memory=1, peak_flops=None, device_type="cpu")
    monkeypatch.setattr(module, "hardware_of", lambda _: machine)
    full = stage(training.stages(load_experiment(FOLDER / "tiny.yaml")), "pretrained_model")
    assert price(full, None, ComputeSpec()) == Price()
