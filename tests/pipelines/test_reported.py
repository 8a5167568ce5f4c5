from pathlib import Path

import pytest

from llm_core.graph.execute import materialize
from llm_core.graph.job import Runtime
from llm_core.graph.plan import Planner
from pipelines.reported import forget, knows_all, remember
from tests.graph import toy


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.reset()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))


def planner(folder: Path, salt: int = 0, forbidden: int = -1) -> Planner:
    return toy.planner([toy.stage("a", (), salt, forbidden), toy.stage("b", ("a",))], folder / "store")


def made(planner: Planner) -> Planner:
    for stage in planner.graph:
        materialize(planner, stage.name, Runtime())
    return planner


def known(planner: Planner) -> bool:
    return knows_all(planner.graph, planner.store, planner.plan())


def test_only_what_the_last_whole_run_told_is_known(tmp_path: Path) -> None:
    first = planner(tmp_path)
    remember(first.graph, first.store, first.plan())  # a run that made nothing told nothing
    assert not known(made(first))
    remember(first.graph, first.store, first.plan())
    assert known(planner(tmp_path))

    assert not known(planner(tmp_path, salt=2))  # to be made
    assert not known(made(planner(tmp_path, salt=2)))  # other artifacts
    value = first.plan()[0].artifact.stats["value"]  # type: ignore[union-attr]
    assert not known(planner(tmp_path, forbidden=value % 11))  # another verdict of a check
    assert known(planner(tmp_path))

    forget(first.graph, first.store)  # some run has begun
    assert not known(planner(tmp_path))
    forget(first.graph, first.store)
