"""What is wrong with a declaration is told when the graph is built."""

import pytest

from llm_core.graph.graph import Graph
from llm_core.graph.stage import Stage
from tests.graph.toy import stage


def declared(**fields: object) -> Stage:
    return Stage(**{"name": "a", "group": "toy", "description": "", "build": "tests.graph.toy:build", **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"build": "tests.graph.toy:bild"}, "stage a names tests.graph.toy:bild, but tests.graph.toy defines no bild"),
        ({"build": "tests.grapf.toy:build"}, "stage a names tests.grapf.toy:build, but there is no module tests.grapf"),
        ({"blocking": (":remaindr",)}, "tests.graph.toy defines no remaindr"),
        ({"non_blocking": ("tests.graph.toy:remaindr",)}, "tests.graph.toy defines no remaindr"),
        ({"source_digests": ":nothing"}, "tests.graph.toy defines no nothing"),
        ({"inputs": {"documents": "nowhere"}}, "its input 'documents' is 'nowhere', but there is no such stage"),
    ],
)
def test_code_and_inputs_that_are_not_there(fields: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Graph("toy", [declared(**fields)])


def test_two_checks_of_one_name() -> None:
    with pytest.raises(ValueError, match="stage a: two of its checks share a name: remainder, remainder"):
        declared(blocking=(":remainder",), non_blocking=(":remainder",))


def test_circles_and_names_that_are_taken() -> None:
    with pytest.raises(ValueError, match="two stages share a name: a"):
        Graph("toy", [stage("a"), stage("a")])
    with pytest.raises(ValueError, match="stages form a cycle: a, b"):
        Graph("toy", [stage("a", ("b",)), stage("b", ("a",))])


def test_a_check_has_the_name_of_its_function() -> None:
    both = declared(blocking=(":remainder",), non_blocking=("llm_core.data.checks:not_empty",))
    assert both.checks == ["remainder", "not_empty"]
    assert both.blocking == ("tests.graph.toy:remainder",)
