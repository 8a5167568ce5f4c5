"""In an empty folder, before anything is downloaded and without a network, what an experiment would do is told."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from tests.data.sources.hub_server import without_waiting

LARGE = {"proxy": 688_965_120, "one_billion": 1_023_479_296, "qt_1b": 1_010_300_928}


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Nothing is here, and there is no network; holds what was asked of it."""
    asked: list[Any] = []

    def refused(*arguments: Any, **_: Any) -> None:
        asked.append(arguments)
        raise OSError("no network")

    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return asked


def told(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("name", LARGE)
def test_plan_and_model(name: str, tmp_path: Path, asked: list[Any]) -> None:
    items = {item["stage"]: item for item in json.loads(told("plan", name, "--json"))}
    twins = [item for item in items.values() if item["notes"]]  # a rate of the sweep is the baseline's
    assert {item["verdict"] for item in items.values() if item not in twins} == {"run"}
    (reason,) = items["raw_documents"]["reasons"]
    assert "HuggingFaceFW/fineweb-edu@87f09149ef47 comes from the Hub when this runs" in reason
    assert f"{LARGE[name]:,}" in told("model", name)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"home/store/stamps/code.json"}, "only what it remembers of the code"
    assert not asked


@pytest.mark.parametrize("name", ["proxy", "one_billion"])
def test_preflight(name: str, asked: list[Any]) -> None:
    report = json.loads(told("preflight", name, "--json"))
    count = report["parameters"]
    assert sum(count[part] for part in ("embedding", "head", "mixers", "feed_forward", "norms")) == LARGE[name]
    assert (report["ranks"], report["memory_total"] < report["usable_memory"]) == (8, True)
    assert not asked


def test_a_run_without_a_network_says_what_it_wanted(monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    without_waiting(monkeypatch)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
    done = CliRunner().invoke(app, ["run", "qt_1b", "--select", "raw_documents"])
    assert done.exit_code == 1
    assert "source 'fineweb_edu'" in done.output
    assert "no connection to http://hub.invalid" in done.output
    assert "give a 'local_folder' with the files" in done.output
    assert asked
