"""The comparison of ideas: what is trained, and how it is told. Runs themselves take hours."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from assets.graph import experiment_graph
from assets.study import study_ladder
from benchmarks.quality import __main__ as quality
from llm_core.store.store import Store
from pipelines.session import Session, open_session

ROW = {
    "width": 48, "idea": "best", "difference": -0.031, "low": -0.042, "high": -0.02, "verdict": "better", "seeds": 3,
    "multiple": 2.0, "baseline_multiple": 1.0, "at_edge": True, "flops": 0.8, "speed": 1.25, "memory": 0.97,
    "at_equal_time": -0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    experiment = open_session(str(quality.EXPERIMENT)).experiment
    return Session(experiment, experiment_graph(experiment), Store(tmp_path_factory.mktemp("store")))


def test_each_idea_has_the_depth_of_the_launched_recipe(session: Session) -> None:
    depths: dict[int, set[int]] = {}
    for stage in study_ladder(session.experiment).stages:
        depths.setdefault(stage.run.width, set()).add(stage.model.n_layers)
    assert depths == {48: {4}, 72: {6}, 96: {8}}


def test_a_table_says_what_is_not_known() -> None:
    unknown = {**ROW, "idea": "odd", "difference": None, "low": None, "verdict": "undecided", "at_equal_time": None}
    *_, best, odd = quality.table([unknown, ROW])
    assert best == (
        "| 48 | best | -3.05% | -4.11% to -1.98% | better | 3 | 2×, at an edge | 0.80× | 1.25× | 0.97× | -4.88% |"
    )
    assert odd.startswith("| 48 | odd |  |  | undecided | 3 |")


def test_the_combination_has_the_tokens_of_equal_time_and_its_best_rate(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[Any, set[str]]] = []

    def run(_console: object, timed: Session, only: set[str]) -> None:
        asked.append((timed.graph, only))

    def finished(_session: Session, runs: tuple[Any, ...]) -> list[tuple[Any, float]]:
        return [(run, 2.0 if run.idea else 2.5) for run in runs]

    monkeypatch.setattr(quality, "show", SimpleNamespace(run=run))
    monkeypatch.setattr(quality, "finished", finished)
    monkeypatch.setattr(quality, "relative_speed", lambda *_: 1.25)
    found = quality.in_equal_time(replace(session, store=Store(tmp_path)), ROW)
    ((graph, only),) = asked
    assert only == {f"idea_runs/best/width_48{seed}" for seed in ("", "_seed_2")}
    training = graph["idea_runs/best/width_48"].config["training"]
    assert session.experiment.study is not None
    usual = session.experiment.study.tokens[-1]
    assert training.tokens == 1.25 * usual
    assert training.schedule.cooldown_steps == training.steps // 5
    assert training.optimizer.lr == pytest.approx(2 * 0.01)  # its best multiple; all widths have the same rates
    (line,) = quality.combination_table([found])[2:]
    assert line == (f"| 48 | {training.tokens:,} | 2.0000 ± 0.0000 | {usual:,} | 2.5000 ± 0.0000 | -20.00% | -4.88% |")
