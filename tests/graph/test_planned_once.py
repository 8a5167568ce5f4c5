"""How often a stage is planned while a run builds it."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_core.graph.execute import item_to_build, materialize
from llm_core.graph.identity import Recipe
from llm_core.graph.job import Runtime
from llm_core.graph.plan import Planner
from llm_core.graph.stage import Stage
from llm_core.store.store import Store
from tests.graph import toy

NAMES = "abcd"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts plans of a stage, identities, and questions to the store."""
    toy.reset()
    counts: Counter[str] = Counter()

    def count(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return method(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    count(Planner, "_item")
    count(Recipe, "identity")
    count(Store, "find")
    return counts


def chain() -> list[Stage]:
    return [toy.stage(name, (NAMES[number - 1],) if number else ()) for number, name in enumerate(NAMES)]


def in_dagster(planner: Planner, name: str) -> str:
    """As ``pipelines.as_asset`` does: it needs the item before the build."""
    return materialize(planner, name, Runtime(), item=item_to_build(planner, name)).cache


def from_the_command_line(planner: Planner, name: str) -> str:
    return materialize(planner, name, Runtime()).cache


@pytest.mark.parametrize("step", [in_dagster, from_the_command_line])
def test_a_run_plans_all_stages_once_and_each_stage_once_more_in_its_turn(
    step: Callable[[Planner, str], str], calls: Counter[str], tmp_path: Path
) -> None:
    for cache, identities, questions in (("made", 1 + 4, 1 + 2 * 4), ("hit", 2 * 4, 2 * 4)):
        calls.clear()
        planner = toy.planner(chain(), tmp_path)
        planner.plan()
        assert [step(planner, name) for name in NAMES] == [cache] * 4
        # In a first run, the plan knows only the identity of the first stage. A stage to build is looked up once more
        # under its lease.
        assert calls == {"_item": 2 * 4, "identity": identities, "find": questions}


def test_a_step_in_a_process_of_its_own_plans_each_stage_once(calls: Counter[str], tmp_path: Path) -> None:
    for number, name in enumerate(NAMES, start=1):
        calls.clear()
        assert materialize(toy.planner(chain(), tmp_path), name, Runtime()).cache == "made"
        assert calls == {"_item": number, "identity": number, "find": number + 1}


def test_what_another_process_built_since_the_plan_is_found(tmp_path: Path) -> None:
    toy.reset()
    planner = toy.planner(chain(), tmp_path)
    planner.plan()
    item = item_to_build(planner, "a")
    assert item.verdict == "run"
    materialize(toy.planner(chain(), tmp_path), "a", Runtime())  # the other process
    assert materialize(planner, "a", Runtime(), item=item).cache == "hit"
    materialize(toy.planner(chain(), tmp_path), "b", Runtime())
    assert materialize(planner, "c", Runtime()).cache == "made"  # it sees b, which its plan had not
    assert toy.BUILDS == ["a", "b", "c"]
