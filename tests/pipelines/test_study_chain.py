"""The whole chain at toy width: study → forecast → gate → full run → score; and a study that grows."""

import json

import pytest

from tests.pipelines.conftest import World, make_world

STUDY = """study:
  sizes: [{width: 8, seeds: 2, orders: 2}, {width: 16}, {width: 24, rates: [0.5, 2]}]
  tokens_per_parameter: [0.1, 0.2]
  gate: {half_width: 1.0e-6, coverage: null, regret: null, searched: null}
"""
WSD = "schedule: {kind: wsd, warmup_steps: 2, cooldown_steps: 4, final_share: 0.0}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("chain"))
    text = made.experiment.read_text()
    before, _, after = text.partition("study:\n")
    after = after[after.index("evaluation:") :]
    text = before.replace("schedule: half", WSD) + STUDY + after
    made.experiment.write_text(text.replace("compute: {", "compute: {target: in_process, "))
    return made


def stages(world: World, *verdicts: str) -> set[str]:
    return {name for name, item in world.plan().items() if item["verdict"] in verdicts}


def test_forecast_gate_run_score_and_what_is_added_alone_is_trained(world: World) -> None:
    experiment = str(world.experiment)
    closed = world.asked("run", experiment, "--select", "forecast_score")
    assert closed.exit_code == 1
    assert "pretrained_model does not start:" in closed.output
    assert "gate launch_gate is closed: check half_width failed: the forecast's half-width is" in closed.output
    assert "pedigree overrule launch_gate --because" in closed.output
    plan = world.plan()
    assert plan["pretrained_model"]["verdict"] == "blocked"
    assert plan["launch_gate"]["verdict"] == "hit"
    told = world.asked("plan", experiment).output
    assert "the study takes" in told
    assert "of the FLOPs of the full run" in told

    # Another bound opens it, and makes nothing again.
    world.edit("half_width: 1.0e-6", "half_width: null")
    assert stages(world, "run") >= {"pretrained_model", "forecast_score"}
    assert "scaling_law" in stages(world, "hit")
    done = world.asked("run", experiment, "--select", "forecast_score")
    assert done.exit_code == 0, done.output
    query = "SELECT forecast, low, high, loss, within FROM forecasts"
    (row,) = json.loads(world.pedigree("query", query, "--json"))
    assert row["low"] < row["forecast"] < row["high"]
    assert row["within"] == (row["low"] <= row["loss"] <= row["high"])
    sealed = json.loads(world.pedigree("query", "SELECT stage, gate, passed FROM gates", "--json"))
    assert sealed == [{"stage": "pretrained_model", "gate": "launch_gate", "passed": "open"}]

    query = "SELECT stats FROM artifacts WHERE stage = 'noise_law'"
    (row,) = json.loads(world.pedigree("query", query, "--json"))
    noise = json.loads(row["stats"]) if isinstance(row["stats"], str) else row["stats"]
    assert noise["orders"]["8"]["sd"] > 0
    assert set(noise["text"]) == {"8", "16", "24"}
    assert noise["text"]["8"] > noise["text_between_seeds"]["8"] > 0

    # A seed and a budget more: what is there stays, and the finished run needs no gate.
    trained = {name for name in world.plan() if name.startswith(("scaling_runs/", "rate_runs/"))}
    world.edit("{width: 16}", "{width: 16, seeds: 2}")
    world.edit("[0.1, 0.2]", "[0.1, 0.2, 0.3]")
    plan = world.plan()
    runs = {name for name in plan if name.startswith(("scaling_runs/", "rate_runs/"))}
    again = {name for name in runs if plan[name]["verdict"] != "hit"}
    sweeps = {name for name in trained if name.startswith("rate_runs/")}  # they have the last budget
    assert again == (runs - trained) | sweeps
    # A trunk and a cooldown of the new budget for each size and seed, and the earlier ones of the new seed.
    assert len(runs - trained) == 5 * 2 + 4
    assert plan["pretrained_model"]["verdict"] == plan["forecast_score"]["verdict"] == "hit"
