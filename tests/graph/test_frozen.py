"""Frozen stages keep what they were while their inputs change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph.accept import accept
from llm_core.graph.execute import Outcome, materialize
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem
from llm_core.graph.stage import Stage
from tests.graph import toy


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    toy.reset()
    yield
    toy.reset()


def chain(salt: int = 0, frozen: bool | str = True, **more: Any) -> list[Stage]:
    """b is frozen: a changes with ``salt``, and c reads both."""
    return [toy.stage("a", salt=salt), toy.stage("b", ("a",), frozen=frozen, **more), toy.stage("c", ("a", "b"))]


def run(stages: list[Stage], root: Path) -> dict[str, Outcome]:
    return {stage.name: materialize(toy.planner(stages, root), stage.name, Runtime()) for stage in stages}


def plan(stages: list[Stage], root: Path) -> dict[str, PlanItem]:
    return {item.stage: item for item in toy.planner(stages, root).plan()}


def test_it_is_made_once_and_stays(tmp_path: Path) -> None:
    first = run(chain(), tmp_path)
    assert [outcome.cache for outcome in first.values()] == ["made"] * 3
    planned = plan(chain(salt=2), tmp_path)
    assert [(item.verdict, item.stage) for item in planned.values()] == [("run", "a"), ("hit", "b"), ("maybe", "c")]
    then = first["a"].artifact.manifest
    assert planned["b"].notes == [
        f"frozen: trained on a {then.identity[:12]} ({then.started[:10]}), even if they change"
    ]
    second = run(chain(salt=2), tmp_path)
    assert [outcome.cache for outcome in second.values()] == ["made", "hit", "made"]
    assert second["b"].artifact.path == first["b"].artifact.path
    made = {record.role: record.identity for record in second["c"].artifact.manifest.inputs}
    assert made["from_b"] == first["b"].artifact.manifest.identity
    assert made["from_a"] != then.identity
    assert plan(chain(salt=2), tmp_path)["b"].outlived == ["a"]
    assert all(outcome.cache == "hit" for outcome in run(chain(salt=2), tmp_path).values())


def test_freezing_is_no_part_of_the_identity(tmp_path: Path) -> None:
    first = run(chain(frozen=False), tmp_path)
    assert run(chain(), tmp_path)["b"].artifact.path == first["b"].artifact.path
    assert run(chain(salt=2, frozen=False), tmp_path)["b"].cache == "made"


def test_other_settings_or_code_make_a_new_one_from_what_is_there_now(tmp_path: Path) -> None:
    run(chain(), tmp_path)
    run(chain(salt=2), tmp_path)
    toy.CODE["b"] = 1
    item = plan(chain(salt=2), tmp_path)["b"]
    assert (item.verdict, item.reasons, item.only_code) == ("run", ["code toy:b changed"], True)
    found = run(chain(salt=2), tmp_path)
    made = found["b"]
    assert made.cache == "made"
    assert made.artifact.manifest.inputs[0].content == found["a"].artifact.manifest.content
    assert run(chain(salt=4), tmp_path)["b"].artifact.path == made.artifact.path  # and that one stays
    other = toy.stage("b", ("a",), salt=6, frozen=True)
    stages = [toy.stage("a", salt=4), other, toy.stage("c", ("a", "b"))]
    assert plan(stages, tmp_path)["b"].reasons == ["salt: 0 → 6"]
    assert run(stages, tmp_path)["b"].cache == "made"


def test_code_can_be_accepted_though_the_inputs_are_others(tmp_path: Path) -> None:
    first = run(chain(), tmp_path)["b"]
    run(chain(salt=2), tmp_path)
    toy.CODE["b"] = 1
    accept(toy.planner(chain(salt=2), tmp_path), "b", "only renamed a variable")
    again = run(chain(salt=2), tmp_path)["b"]
    assert (again.cache, again.artifact.path) == ("hit", first.artifact.path)
    notes = plan(chain(salt=4), tmp_path)["b"].notes
    assert notes[0].startswith("frozen: trained on a ")
    assert "only renamed a variable" in notes[1]


def test_another_store_makes_its_own(tmp_path: Path) -> None:
    run(chain(), tmp_path / "one")
    old = run(chain(salt=2), tmp_path / "one")["b"]
    new = run(chain(salt=2), tmp_path / "other")["b"]
    assert new.cache == "made"
    assert new.artifact.manifest.identity != old.artifact.manifest.identity


@pytest.mark.parametrize("name", ["value", "manifest.json"])
def test_a_damaged_one_is_made_anew_as_it_was_or_not_at_all(tmp_path: Path, name: str) -> None:
    """Another one in its place would make all that follows again, and nobody would know why."""
    first = run(chain(), tmp_path)["b"].artifact
    file = first.path / name
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_text("other")
    item = plan(chain(), tmp_path)["b"]
    assert (item.verdict, item.identity) == ("run", first.manifest.identity)
    assert str(file) in item.reasons[0]
    for _ in ("before the input is made", "after it"):
        with pytest.raises(PedigreeError, match=rf"b is frozen, and its artifact is damaged: {file}.*Restore"):
            plan(chain(salt=2), tmp_path)
        run([toy.stage("a", salt=2)], tmp_path)
    file.write_bytes(whole)
    assert plan(chain(salt=2), tmp_path)["b"].verdict == "hit"
    file.write_text("other")
    assert run(chain(salt=0), tmp_path)["b"].cache == "made", "from the same inputs it is the same"
    assert plan(chain(salt=2), tmp_path)["b"].identity == first.manifest.identity


def test_it_is_not_made_again_by_force_from_other_inputs(tmp_path: Path) -> None:
    run(chain(), tmp_path)
    assert materialize(toy.planner(chain(), tmp_path), "b", Runtime(), again=True).cache == "made"
    run(chain(salt=2), tmp_path)
    with pytest.raises(PedigreeError, match=r"b is frozen, and its inputs \(a\) have changed since"):
        materialize(toy.planner(chain(salt=2), tmp_path), "b", Runtime(), again=True)


def test_by_its_identity(tmp_path: Path) -> None:
    named = run(chain(frozen=False), tmp_path)["b"].artifact.manifest.identity
    stages = chain(salt=2, frozen=named)
    run(chain(salt=2, frozen=False), tmp_path)  # what was made last does not count
    assert run(stages, tmp_path)["b"].artifact.manifest.identity == named
    toy.CODE["b"] = 1  # nor does the code
    assert run(stages, tmp_path)["b"].artifact.manifest.identity == named
    toy.CODE["b"] = 0
    with pytest.raises(
        PedigreeError, match=rf"b: freeze names {named}, but .* has no such artifact; copy artifacts/b/"
    ):
        plan(stages, tmp_path / "other")
    with pytest.raises(PedigreeError, match=r"which was made with other settings \(then → now\): salt: 0 → 8\. "):
        plan([toy.stage("a", salt=2), toy.stage("b", ("a",), salt=8, frozen=named)], tmp_path)
    run([toy.stage("a")], tmp_path / "other")  # from the same inputs, it is made
    assert run(chain(frozen=named), tmp_path / "other")["b"].artifact.manifest.identity == named
