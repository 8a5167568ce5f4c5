"""Plan and execution agree on graphs that are changed at random."""

import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.errors import PedigreeError
from llm_core.graph.execute import materialize
from llm_core.graph.graph import before
from llm_core.graph.job import Runtime
from llm_core.graph.stage import Stage
from tests.graph import toy

NAMES = "abcdef"


Before = tuple[tuple[str, ...], tuple[str, ...]]
"""The inputs of a stage, and its gates."""


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Before]:
    """Name → inputs and gates, all declared before."""
    count = draw(st.integers(2, len(NAMES)))
    found = {}
    for index, name in enumerate(NAMES[:count]):
        some = st.sets(st.sampled_from(NAMES[:index]), max_size=3) if index else st.just(set())
        inputs = draw(some)
        found[name] = tuple(sorted(inputs)), tuple(sorted(draw(some) - inputs)[:1])
    return found


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["config", "code", "external", "delete", "damage", "gate", "nothing"]),
        st.sampled_from(NAMES),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=30, deadline=None)
@given(graphs(), CHANGES)
def test_plan_and_execution_agree(inputs: dict[str, Before], changes: list[tuple[str, str, int]]) -> None:
    toy.reset()
    root = Path(tempfile.mkdtemp())
    salts = dict.fromkeys(inputs, 0)
    gates = dict.fromkeys(inputs, -1)
    try:
        for change, target, number in [("nothing", "a", 0), *changes]:
            name = target if target in inputs else "a"
            if change == "config":
                salts[name] = number
            elif change == "code":
                toy.CODE[name] = number
            elif change == "external":
                toy.EXTERNALS[name] = str(number)
            elif change == "gate":
                gates[name] = number
            elif change in ("delete", "damage"):
                for folder in (root / "artifacts" / name).glob("*"):
                    if change == "delete":
                        shutil.rmtree(folder)
                    else:
                        (folder / "value").chmod(0o644)
                        (folder / "value").write_text("damaged")
            stages = [
                toy.stage(name, above, salts[name], gates[name], gates=opening)
                for name, (above, opening) in inputs.items()
            ]
            _agree(stages, root)
    finally:
        shutil.rmtree(root)


def _agree(stages: list[Stage], root: Path) -> None:
    planned = toy.planner(stages, root).plan()
    for item in planned:
        built = len(toy.BUILDS)
        try:
            cache: str = materialize(toy.planner(stages, root), item.stage, Runtime()).cache
        except PedigreeError as error:
            assert any(told in str(error) for told in ("a blocking check fails", "missing from", "does not start"))
            cache = "blocked"
        assert (cache == "made") == (len(toy.BUILDS) == built + 1)
        # What a plan calls hit, run or blocked is so; the first gate to close behind a run can only be seen by running.
        expected = {
            "hit": {"hit"},
            "run": {"made", "blocked"} if _gate_may_close(item.stage, stages, planned) else {"made"},
            "maybe": {"made", "hit", "blocked"} if _gate_may_close(item.stage, stages, planned) else {"made", "hit"},
            "blocked": {"blocked"},
        }
        assert cache in expected[item.verdict], (item, cache)
    again = toy.planner(stages, root).plan()
    assert {item.verdict for item in again} <= {"hit", "blocked"}


def _gate_may_close(name: str, stages: list[Stage], planned: list) -> bool:
    """Whether a stage before ``name``, by inputs or gates, is made in this round and has a check that may fail."""
    graph = toy.planner(stages, Path("unused")).graph
    made = {item.stage for item in planned if item.verdict in ("run", "maybe")}
    above, pending = set(), [name]
    while pending:
        found = set(before(graph[pending.pop()])) - above
        above |= found
        pending.extend(found)
    return any(other in made and graph[other].bounds["forbidden"] >= 0 for other in above)
