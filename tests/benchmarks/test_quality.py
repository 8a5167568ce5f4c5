"""The comparison of ideas: what is compared, and how differences are counted. Runs themselves take hours."""

import math
from pathlib import Path

import pytest

from benchmarks.quality import __main__ as quality
from benchmarks.quality.runs import BASELINE, Outcome, Run
from benchmarks.quality.speed import Speed, speeds
from benchmarks.quality.table import fraction_table, paired, table
from llm_core.experiment.load import load_experiment
from llm_core.experiment.training import ProxySpec

BYTES = 1 / math.log(2)  # a token of so many bytes: bits per byte are nats per token


@pytest.fixture(scope="module")
def proxies() -> ProxySpec:
    found = load_experiment(quality.FOLDER / "base.yaml").proxies
    assert found is not None
    return found


def outcome(run: Run, loss: float) -> Outcome:
    return Outcome(run, [(run.training.tokens, loss)], 10**9, 60.0)


def test_a_share_of_the_tokens_has_a_schedule_of_its_own(proxies: ProxySpec) -> None:
    half = quality.of_share(proxies, "superposition", 1, 0.5).training
    assert (half.steps, half.schedule.warmup_steps, half.schedule.cooldown_steps) == (500, 25, 125)
    assert half.superposition is not None
    assert half.superposition.steps == 150
    assert quality.of_share(proxies, "muon", 1, 1.0) == quality.of_rate(proxies, "muon", 1, 8e-3)


def test_differences_are_over_the_same_seeds(proxies: ProxySpec) -> None:
    runs = [quality.of_share(proxies, name, seed, 1.0) for name in (BASELINE, "liv") for seed in (1, 2)]
    outcomes = [outcome(run, loss) for run, loss in zip(runs, (5.0, 6.0, 4.9, 5.7), strict=True)]
    assert paired("liv", outcomes, BYTES) == pytest.approx((-0.2, 0.1))
    measured = {BASELINE: Speed(1000.0, 1.0), "liv": Speed(1200.0, 1.25)}
    lines = table([BASELINE, "liv"], outcomes, outcomes, measured, dict.fromkeys(measured, 10**6), BYTES)
    assert "| liv | 1.00M | 1,200 (1.25×) | 1,000 MB | 5.3000 ± 0.5657 | -0.2000 ± 0.1000 |" in lines[2]
    reached = {0.5: [outcome(quality.of_share(proxies, "best", 1, 0.5), 5.25)]}
    assert fraction_table(reached, outcomes[:2], BYTES)[2] == "| 50% | 512,000 | 5.2500 | -0.2500 |"


def test_a_speed_is_compared_within_its_round(proxies: ProxySpec, tmp_path: Path, monkeypatch) -> None:
    clock = iter([100.0, 90.0, 50.0, 45.0, 80.0, 20.0])
    monkeypatch.setattr("benchmarks.quality.speed.measured", lambda *_args: next(clock))
    runs = {name: quality.of_share(proxies, name, 1, 1.0) for name in (BASELINE, "muon", "mla")}
    first = speeds({name: runs[name] for name in (BASELINE, "muon")}, tmp_path, 300, 2, tmp_path)
    assert first["muon"] == (67.5, 0.9)
    later = speeds(runs, tmp_path, 300, 1, tmp_path)  # the machine, meanwhile, is slower
    assert (later["muon"], later["mla"]) == ((67.5, 0.9), (20.0, 0.25))
