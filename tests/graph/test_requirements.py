from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph.execute import materialize
from llm_core.graph.job import Runtime
from llm_core.graph.requirements import check_requirements
from tests.graph import toy

ASKED: list[str] = []


def lacks_a_key(runtime: Runtime) -> None:
    ASKED.append(runtime.tracking.project)
    raise PedigreeError("there is no key")


def knows_no_such_file(**_: object) -> None:
    raise PedigreeError("source 'x': no file matches 'y'")


def test_what_a_stage_lacks_is_told_before_anything_is_made_and_only_where_it_is_to_be_made(tmp_path: Path) -> None:
    stages = [toy.stage("a"), toy.stage("b", ("a",), requirements=f"{__name__}:lacks_a_key"), toy.stage("c", ("a",))]
    planner = toy.planner(stages, tmp_path)
    with pytest.raises(PedigreeError, match=r"^b could not begin, so nothing was started: there is no key$"):
        check_requirements(planner, planner.plan(), Runtime())
    assert ASKED == ["pedigree"]
    check_requirements(planner, planner.plan({"a", "c"}), Runtime())
    assert len(ASKED) == 1, "nobody asked for b"
    for name in ("a", "b"):
        materialize(toy.planner(stages, tmp_path), name, Runtime())
    planner = toy.planner(stages, tmp_path)
    check_requirements(planner, planner.plan(), Runtime())
    assert len(ASKED) == 1, "b is there"


def test_what_a_late_stage_looks_for_in_the_network_is_looked_for_before_anything_is_made(tmp_path: Path) -> None:
    stages = [toy.stage("a"), toy.stage("b", ("a",), look_up=f"{__name__}:knows_no_such_file")]
    planner = toy.planner(stages, tmp_path)
    with pytest.raises(PedigreeError, match="no file matches"):
        check_requirements(planner, planner.plan(), Runtime())
    check_requirements(planner, planner.plan({"a"}), Runtime())
