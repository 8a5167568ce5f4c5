"""An upgrade of Pedigree over finished runs: its price is told and asked about, and nothing is lost on a no."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llm_core.store.home import PROJECT
from tests.pipelines.conftest import World, copy_of, copy_project

CHANGED = "llm_core.train.loop:_update"
IN_ONE_PROCESS = """
import json, sys
from typer.testing import CliRunner
from pipelines.cli import app
asked = [CliRunner().invoke(app, command, catch_exceptions=False) for command in json.loads(sys.argv[1])]
print(json.dumps([(one.exit_code, one.stdout, one.stderr) for one in asked]))
"""
YES = '{"resources": {"consent": {"config": {"agreed": true}}}}'


@dataclass
class Upgraded:
    """A finished world, and a checkout in which the code of ``train/`` has changed."""

    world: World
    project: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, **self.options)

    @property
    def options(self) -> dict[str, Any]:
        environment = {**self.world.environment, "PYTHONPATH": str(self.project)}
        return {"env": environment, "cwd": self.project, "timeout": 300, "stdin": subprocess.DEVNULL}

    def pedigree(self, *commands: tuple[str, ...]) -> list[tuple[int, str, str]]:
        """Commands, one after another in one process; the exit code of each, its output, and its errors."""
        done = subprocess.run(
            [sys.executable, "-c", IN_ONE_PROCESS, json.dumps(commands)], capture_output=True, text=True, **self.options
        )
        assert done.returncode == 0, done.stderr
        return [tuple(asked) for asked in json.loads(done.stdout)]

    @property
    def experiment(self) -> str:
        return str(self.world.experiment)

    def artifacts(self) -> dict[str, bytes]:
        home = self.world.folder / "home" / "store" / "artifacts"
        return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("manifest.json")}


@pytest.fixture
def upgraded(finished: World, tmp_path: Path) -> Upgraded:
    project = copy_project(tmp_path / "project")
    shutil.copy(PROJECT / "pyproject.toml", project)
    loop = project / "llm_core" / "train" / "loop.py"
    text = loop.read_text()
    assert text.count("    optimizer.step()\n") == 1
    loop.write_text(text.replace("    optimizer.step()\n", "    made = optimizer.step()\n    assert made is None\n"))
    return Upgraded(copy_of(finished, tmp_path / "world"), project)


def test_an_upgrade_is_priced_asked_about_and_on_no_all_is_kept(upgraded: Upgraded) -> None:
    upgraded.world.edit("micro_batch: 4", "micro_batch: 4, ask_above: {hours: 1.0e-6, dollars: null}")
    before = upgraded.artifacts()
    planned, shown, refused = upgraded.pedigree(
        ("plan", upgraded.experiment, "--json"), ("plan", upgraded.experiment), ("run", upgraded.experiment)
    )
    assert (planned[0], shown[0], refused[0]) == (0, 0, 1), (planned, shown)
    plan = {item["stage"]: item for item in json.loads(planned[1])}
    item = plan["pretrained_model"]
    assert (item["verdict"], item["reasons"], item["priced_by"]) == ("run", [f"code {CHANGED} changed"], "last time")
    assert 0 < item["price_hours"] < 1
    assert item["price_dollars"] is None
    assert plan["token_shards"]["verdict"] == "hit"
    assert plan["token_shards"]["price_hours"] is None
    table = shown[1]
    assert "price" in table.splitlines()[0]
    assert "\nprice (expected time and cost): " in table

    assert "scaling_runs/width_16_trunk_3 is not trained without a yes" in refused[2]
    assert f"(code {CHANGED})" in refused[2]
    assert "pedigree accept scaling_runs/width_16_trunk_3 --why" in refused[2]
    in_dagster = ("dagster", "asset", "materialize", "-m", "pipelines.custom", "--select")
    trunk = 'key:"micro/scaling_runs/width_16_trunk_3"'
    unasked = upgraded.run(*in_dagster, trunk)
    assert unasked.returncode == 1
    assert "is not trained without a yes" in unasked.stderr
    assert upgraded.artifacts() == before

    agreed = upgraded.run(*in_dagster, trunk, "--config-json", YES)
    assert agreed.returncode == 0, agreed.stderr[-3000:]
    assert len(upgraded.artifacts()) == len(before) + 1

    accepted, planned = upgraded.pedigree(
        ("accept", "--all", "--why", "an assertion more", "-e", upgraded.experiment),
        ("plan", upgraded.experiment, "--json"),
    )
    assert (accepted[0], planned[0]) == (0, 0), (accepted, planned)
    assert "pretrained_model: " in accepted[1]
    assert "idea_runs/qk_norm/width_16: " in accepted[1]
    assert {item["verdict"] for item in json.loads(planned[1])} == {"hit"}


def test_what_only_watches_a_run_makes_none_again(finished: World, tmp_path: Path) -> None:
    world = copy_of(finished, tmp_path / "world")
    world.edit("validate_every: 10", "validate_every: 3")
    world.edit("validation_tokens: 512", "validation_tokens: 64\n  max_bad_steps: 7")
    assert {record["verdict"] for record in world.plan().values()} == {"hit"}


def test_damaged_metrics_cost_no_weights_and_a_stage_is_made_again_on_demand(finished: World, tmp_path: Path) -> None:
    world = copy_of(finished, tmp_path / "world")
    identity = world.plan()["pretrained_model"]["identity"]
    folder = world.folder / "home" / "store" / "artifacts" / "training_run" / identity
    metrics = folder / "metrics.jsonl"
    metrics.chmod(0o644)
    data = bytearray(metrics.read_bytes())
    data[len(data) // 2] ^= 1
    metrics.write_bytes(data)
    (page,) = world.folder.glob("home/store/artifacts/training_report/*/report.html")
    page.chmod(0o644)
    page.write_text("damaged")

    plan = world.plan()
    verdicts = {stage: record["verdict"] for stage, record in plan.items()}
    assert verdicts.pop("training_report") == "run"
    assert set(verdicts.values()) == {"hit"}
    assert "metrics.jsonl is damaged" in plan["pretrained_model"]["notes"][0]
    asked = world.asked("query", f"SELECT step FROM steps WHERE identity = '{identity}'", "--json")
    assert (json.loads(asked.stdout), "metrics.jsonl is damaged" in asked.stderr) == ([], True)
    story = world.pedigree("why", "-d", "files/1.jsonl:7", "-e", str(world.experiment), "--json")
    if "pretrained_model" in story:
        assert "not known: " in story

    told = world.pedigree("run", str(world.experiment))
    assert "warning: pretrained_model: " in told
    assert not metrics.exists()
    *_, path = map(Path, world.pedigree("report", str(world.experiment)).splitlines())
    assert "There are no curves" in path.read_text()
    assert "whole" in world.pedigree("verify", str(world.experiment))

    world.pedigree("run", str(world.experiment), "--force", "pretrained_model", "--force", "training_report")
    assert metrics.is_file()
    assert "There are no curves" not in path.read_text()
    assert world.plan()["pretrained_model"]["notes"] == []
