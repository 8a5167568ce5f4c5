"""Gates in the terminal and in Dagster: what they say, and what they make."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from rich.console import Console
from typer.testing import CliRunner

from llm_core.errors import PedigreeError
from llm_core.graph import execute
from llm_core.graph.graph import Graph
from llm_core.graph.plan import Planner
from llm_core.graph.stage import Stage
from llm_core.store.store import Store
from pipelines import as_asset, show
from pipelines.cli import app
from pipelines.commands import looking, making
from pipelines.experiments import open_experiment
from pipelines.resources import ComputeResource, ConsentResource, StoreResource, TrackingResource
from pipelines.session import Session
from tests.graph import toy


def stages(gate_salt: int = 0, forbidden: int = -1) -> list[Stage]:
    """data → gate, and data → run, which waits for the gate."""
    return [
        toy.stage("data"),
        toy.stage("gate", ("data",), gate_salt, forbidden),
        toy.stage("run", ("data",), gates=("gate",)),
    ]


@dataclass(frozen=True)
class ToySession(Session):
    def planner(self) -> Planner:
        return toy.planner(self.graph, self.store.root)


@pytest.fixture(scope="module")
def experiment() -> Any:
    return open_experiment("tiny").model_copy(update={"name": "toy"})


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, experiment: Any, tmp_path: Path) -> Callable[..., Session]:
    monkeypatch.setattr(execute, "git_state", lambda: (None, None))  # it takes most of a build's time
    toy.reset()
    return lambda **changes: ToySession(experiment, Graph("toy", stages(**changes)), Store(tmp_path))


def run(session: Session, *only: str, again: tuple[str, ...] = ()) -> str:
    out = StringIO()
    show.run(Console(file=out, width=200), session, set(only) or None, again=again)
    return out.getvalue()


@pytest.fixture
def closed(opened: Callable[..., Session]) -> int:
    """The remainder that closes the gate, which is made."""
    run(opened(), "gate")
    artifact, _ = opened().store.last("toy", "gate", "gate")
    assert artifact is not None
    return int(artifact.stats["value"]) % 11


def test_a_run_makes_the_gate_first_and_a_hit_does_not(opened: Callable[..., Session]) -> None:
    out = run(opened(), "run")
    assert toy.BUILDS == ["data", "gate", "run"]
    assert "[3/3] made run" in out
    assert "[2/2] hit run" in run(opened(gate_salt=2), "run")
    assert toy.BUILDS == ["data", "gate", "run"]
    run(opened(gate_salt=2), "run", again=("run",))
    assert toy.BUILDS == ["data", "gate", "run", "gate", "run"]


def test_a_run_that_turns_out_a_hit_leaves_its_gate_alone(opened: Callable[..., Session]) -> None:
    run(opened(), "run")
    toy.CODE["data"] = 1  # it comes out equal
    assert "[2/2] hit run" in run(opened(gate_salt=2), "run")
    assert toy.BUILDS == ["data", "gate", "run", "data"]


def test_a_closed_gate_stops_a_run_before_any_work(opened: Callable[..., Session], closed: int) -> None:
    toy.BUILDS.clear()
    with pytest.raises(PedigreeError, match=r"run does not start:\ngate gate is closed: check remainder failed"):
        run(opened(forbidden=closed), "run")
    assert toy.BUILDS == []
    run(opened(forbidden=closed), "gate")  # what comes before it can be made


def command(monkeypatch: pytest.MonkeyPatch, session: Session, *arguments: str) -> Any:
    for commands in (making, looking):
        monkeypatch.setattr(commands, "open_session", lambda _: session)
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_plan_tells_the_gate_and_the_overrule(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Session], closed: int
) -> None:
    def planned(**changes: Any) -> dict[str, dict[str, Any]]:
        records = json.loads(command(monkeypatch, opened(**changes), "plan", "--json").stdout)
        return {record["stage"]: record for record in records}

    assert planned()["run"]["gates"] == {"gate": "open"}
    assert planned(gate_salt=2)["run"]["gates"] == {"gate": "unknown"}
    line = planned(forbidden=closed)["run"]
    assert (line["verdict"], line["gates"]) == ("blocked", {"gate": "closed"})
    assert line["reasons"][0].startswith("gate gate is closed: check remainder failed: ")
    assert "gate gate is closed" in command(monkeypatch, opened(forbidden=closed), "plan").stdout

    refused = command(monkeypatch, opened(), "overrule", "gate", "--because", "why not")
    assert (refused.exit_code, "nothing to overrule" in refused.stderr) == (1, True)
    words = ("overrule", "gate", "--because", "the deadline", "--by", "Ada")
    signed = command(monkeypatch, opened(forbidden=closed), *words)
    assert "overruled: remainder: " in signed.stdout
    assert "counts as open (signed by Ada)" in signed.stdout
    line = planned(forbidden=closed)["run"]
    assert (line["verdict"], line["gates"]) == ("run", {"gate": "overruled"})
    run(opened(forbidden=closed), "run")
    assert planned()["run"]["verdict"] == "hit"
    assert any("overruled by Ada" in note for note in planned()["run"]["notes"])
    told = command(monkeypatch, opened(), "why", "run").stdout
    assert "with the gate gate" in told
    assert "overruled by Ada" in told
    (gate,) = json.loads(command(monkeypatch, opened(), "why", "run", "--json").stdout)["lineage"]["gates"]
    assert (gate["passed"], gate["lineage"]["inputs"][0]["stage"]) == ("overruled", "data")


@pytest.fixture
def in_dagster(
    monkeypatch: pytest.MonkeyPatch, opened: Callable[..., Session], tmp_path: Path
) -> Callable[..., dg.ExecuteInProcessResult]:
    monkeypatch.setattr(as_asset, "open_planner", lambda graph, store: toy.planner(graph, store.root))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))

    def materialized(selection: list[str] | None = None, **changes: Any) -> dg.ExecuteInProcessResult:
        session = opened(**changes)
        planner = session.planner()
        assets = [as_asset.as_asset(session.graph, stage, planner, session.experiment) for stage in session.graph]
        return dg.materialize(
            assets,
            resources={
                "store": StoreResource(root=str(tmp_path)),
                "compute": ComputeResource.of(session.experiment.compute),
                "consent": ConsentResource(),
                "tracking": TrackingResource(**session.experiment.tracking.model_dump()),
            },
            selection=selection and dg.AssetSelection.assets(*(dg.AssetKey(["toy", name]) for name in selection)),
            raise_on_error=False,
        )

    return materialized


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    (event,) = [event for event in result.all_events if event.is_step_failure and event.step_key == f"toy__{step}"]
    data = event.event_specific_data
    return str(data.user_failure_data.description)  # type: ignore[union-attr]


def test_in_dagster_a_gate_is_made_first(in_dagster: Callable[..., Any]) -> None:
    result = in_dagster()
    assert result.success
    assert toy.BUILDS == ["data", "gate", "run"]
    (made,) = result.asset_materializations_for_node("toy__run")
    assert made.metadata["gate gate"].value.endswith(": open")


def test_in_dagster_a_closed_gate_fails_the_run_with_the_command_and_a_hit_passes(
    in_dagster: Callable[..., Any], opened: Callable[..., Session], closed: int
) -> None:
    toy.BUILDS.clear()
    refused = in_dagster(forbidden=closed)
    assert not refused.success
    assert "gate gate is closed: check remainder failed" in failure(refused, "data")  # the first step
    assert "pedigree overrule gate --because" in failure(refused, "data")
    assert toy.BUILDS == []
    assert in_dagster().success
    assert in_dagster(forbidden=closed).success, "a closed gate does not concern a run that is finished"
    assert toy.BUILDS == ["run"]


def test_in_dagster_a_gate_that_closes_in_the_run_fails_its_stage(
    in_dagster: Callable[..., Any], closed: int, tmp_path: Path
) -> None:
    for folder in (tmp_path / "artifacts" / "gate").iterdir():
        folder.rename(tmp_path / "away")
    toy.BUILDS.clear()
    refused = in_dagster(forbidden=closed)
    assert toy.BUILDS == ["gate"]
    assert "pedigree overrule gate --because" in failure(refused, "run")
    assert not in_dagster(["run"], gate_salt=2).success
