import json
from functools import partial

import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.study import GateSpec
from llm_core.study import launch_gate, study_cost
from llm_core.study.results import POINTS
from llm_core.study.scaling_law import law_of
from tests.study.planted import BEST, LADDER, LAUNCHED, NOISE, Study, law

CONDITIONS = {
    name: getattr(launch_gate, name)
    for name in (
        *("half_width", "coverage", "regret", "rate_inside", "runs_sound", "same_recipe"),
        *("epochs", "contamination", "preflight", "hours", "dollars"),
    )
}


@pytest.fixture(scope="module", name="study")
def made_study(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("study"))
    study.gate()
    return study


@pytest.fixture(scope="module", name="gate")
def made_gate(study):
    return study.gate()


def test_the_noise_between_seeds_is_found(study):
    noise = study.noise()
    assert noise.freedom == 3  # three seeds of the smallest size, two of the next
    assert noise.low < NOISE < noise.high
    assert set(noise.by_width) == {"256", "512"}


def test_the_best_rate_of_the_launched_size_is_found(study):
    rates = study.rates()
    assert rates.at_edge == []
    assert rates.best_rate_low < BEST * 1e-3 < rates.best_rate_high
    assert 0.0001 < rates.regret < 0.005
    assert [row["width"] for row in rates.sweeps] == [256, 512]


def test_a_sweep_with_diverged_runs_has_its_best_rate_at_an_edge(tmp_path):
    (low, high), diverged = [run.role for run in LADDER.of("rates")][:2], {"final_validation_bits_per_byte": None}
    study = Study(tmp_path, {high: diverged})
    study.noise()
    rates = study.rates()
    assert rates.at_edge == [256]
    assert [row["regret"] is None for row in rates.sweeps] == [True, False]
    assert rates.best_rate is not None  # by the sweep of the other size
    middle = LADDER.compared("rates")[0].role
    study = Study(tmp_path, dict.fromkeys([low, middle, high], diverged))
    study.noise()
    with pytest.raises(PedigreeError, match="all runs of the sweep at width 256 diverged; take lower rates"):
        study.rates()


def test_the_forecast_covers_what_the_law_says(study):
    found, forecast = study.law(), study.forecast()
    assert found.alpha == pytest.approx(0.34, abs=3 * found.alpha_sd + 0.05)
    assert forecast.low < law(LAUNCHED.parameters, LAUNCHED.tokens) < forecast.high
    assert forecast.half_width < 0.05
    assert [row["share"] for row in forecast.curve] == [0.25, 0.5, 0.75]
    for row in forecast.curve:
        assert row["low"] < 1.05 * law(LAUNCHED.parameters, LAUNCHED.tokens * row["share"]) < row["high"]
    # 6·N·D is the compute of the run, so its best split has that product.
    assert forecast.optimal_parameters * forecast.optimal_tokens == pytest.approx(LAUNCHED.flops / 6)


def test_the_law_survives_its_manifest(study):
    found = study.law()
    again = law_of(json.loads(json.dumps(found.law)))
    assert again.exponents == (found.alpha, found.beta)
    rows = json.loads((study.folder / "scaling_law" / POINTS).read_text())
    assert [row["role"] for row in rows] == [run.role for run in LADDER.of("cooldown")]
    expected = again.loss([row["parameters"] for row in rows], [row["tokens"] for row in rows])
    assert [row["expected"] for row in rows] == pytest.approx(expected.tolist())


def test_diverged_runs_are_told_apart_and_too_few_runs_refused(tmp_path):
    first, *others = [run.role for run in LADDER.of("cooldown")]
    diverged = {"final_validation_bits_per_byte": None}
    study = Study(tmp_path, {first: diverged})
    study.noise()
    assert study.law().diverged == [first]
    study = Study(tmp_path, dict.fromkeys([first, *others][:-4], diverged))
    study.noise()
    with pytest.raises(PedigreeError, match="no law can be fitted to 4 runs; a law takes at least 6"):
        study.law()


def test_runs_with_other_validation_text_are_not_compared(tmp_path):
    role = LADDER.of("cooldown")[1].role
    study = Study(tmp_path, {role: {"validation_tokens": 2048}})
    with pytest.raises(PedigreeError, match=f"{role} on 2048, so their losses can't be compared; .*--force"):
        study.noise()


def test_the_gate_opens_for_a_sound_study(gate):
    bounds = GateSpec(half_width=0.05, coverage=None, epochs=4.0)
    failed = {name: check(gate, bounds).message for name, check in CONDITIONS.items() if not check(gate, bounds).passed}
    assert failed == {}


@pytest.mark.parametrize(
    ("condition", "results", "bounds"),
    [
        ("half_width", {"half_width": 0.06}, {}),
        ("coverage", {"coverage": 0.7, "forecast_runs": 10}, {"coverage": 0.8}),
        ("coverage", {"coverage": None}, {"coverage": 0.8}),
        ("regret", {"regret": 0.02}, {}),
        ("regret", {"regret": None}, {}),
        ("rate_inside", {"at_edge": [256]}, {}),
        ("runs_sound", {"bad_runs": ["scaling_runs/width_256"]}, {}),
        ("same_recipe", {"other_recipe": ["model.norm.kind"]}, {}),
        ("epochs", {"epochs": 4.1}, {}),
        ("contamination", {"searched": {"suite": 0.4}}, {}),
        ("preflight", {"preflight": "out of memory"}, {}),
        ("hours", {"hours": 11.0}, {"hours": 10.0}),
        ("hours", {"hours": None}, {"hours": 10.0}),
        ("dollars", {"dollars": 11.0}, {"dollars": 10.0}),
        ("dollars", {"dollars": None}, {"dollars": 10.0}),
    ],
)
def test_each_condition_alone_closes_the_gate(gate, condition, results, bounds):
    changed = gate.model_copy(update=results)
    asked = GateSpec(**{"half_width": 0.05, "coverage": None, **bounds})
    assert [name for name, check in CONDITIONS.items() if not check(changed, asked).passed] == [condition]


def test_conditions_that_are_null_do_not_apply(gate):
    worst = {
        "half_width": 9.0,
        "coverage": None,
        "regret": None,
        "at_edge": [1],
        "epochs": 99.0,
        "searched": {"a": 0.0},
    }
    results = gate.model_copy(update=worst)
    free = GateSpec(half_width=None, coverage=None, regret=None, epochs=None, searched=None)
    assert all(check(results, free).passed for check in CONDITIONS.values())


def test_a_proxy_that_secretly_differs_is_found(tmp_path):
    role = LADDER.of("cooldown")[2].role
    norm = {"kind": "layernorm", "eps": 1e-5}
    study = Study(tmp_path, configs={role: {"model": {"norm": norm}, "training": {"z_loss": 1e-4}}})
    results = study.gate()
    assert results.other_recipe == ["model.norm.kind", "training.z_loss"]
    verdict = partial(launch_gate.same_recipe, results)
    assert "model.norm.kind, training.z_loss" in verdict(GateSpec()).message
    assert verdict(GateSpec(may_differ=("model.norm.kind", "training.z_loss"))).passed


def test_runs_that_skipped_steps_are_bad(tmp_path):
    role = LADDER.of("trunk")[0].role
    assert Study(tmp_path, {role: {"skipped_steps": 2}}).gate().bad_runs == [role]


def test_the_curve_has_no_band_where_the_run_cools_down(study):
    assert all(row["step"] <= LAUNCHED.steps - 6000 for row in study.forecast().curve)
    assert np.all(np.diff([row["loss"] for row in study.forecast().curve]) < 0)


def test_the_cost_of_a_study_is_that_of_all_its_runs(tmp_path):
    first = LADDER.of("rates")[0]
    study = Study(tmp_path, {first.role: {"seconds_training": 3600.0, "device": "H100", "ranks": 2}})
    runs = sum(len(LADDER.of(part)) for part in ("trunk", "cooldown", "rates"))
    found = study.cost()
    assert sum(found.runs.values()) == runs
    assert sum(found.hours.values()) == pytest.approx(1 + 10 * (runs - 1) / 3600)
    assert (found.gpu_hours, found.dollars) == (2.0, None)
    other = LADDER.of("cooldown")[0].role
    study.made[other].manifest.identity = first.role  # an equal run, which is one artifact
    assert sum(study.cost().runs.values()) == runs - 1
    assert "set compute.price_per_gpu_hour" in study_cost.price_known(found, None).message
    assert not study_cost.price_known(found, None).passed
    priced = found.model_copy(update={"dollars": 5.0})
    assert study_cost.price_known(priced, None).message.endswith("hours of training, $5.00 for the GPUs")
    assert study_cost.price_known(found.model_copy(update={"gpu_hours": 0.0}), None).passed
