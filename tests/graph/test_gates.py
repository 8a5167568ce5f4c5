"""A gate must pass before a stage is built. It is no input: what is finished never asks for it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph import execute
from llm_core.graph.execute import materialize
from llm_core.graph.graph import Graph
from llm_core.graph.job import Job, Runtime
from llm_core.graph.lineage import ancestry
from llm_core.graph.overrule import overrule
from llm_core.graph.plan import PlanItem
from llm_core.graph.requirements import check_requirements
from llm_core.graph.stage import Stage
from llm_core.store.manifest import GateRecord, Manifest, read_manifest
from llm_core.store.store import Store
from llm_core.store.views import open_views
from tests.graph import toy

KILLED: set[str] = set()
"""The stages whose builds end half-way."""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "git_state", lambda: (None, None))  # it takes most of a build's time
    toy.reset()
    KILLED.clear()


def build(job: Job, name: str, salt: int) -> toy.Value:
    if name in KILLED:
        raise PedigreeError("killed")
    return toy.build(job, name, salt)


def stages(salt: int = 0, gate_salt: int = 0, forbidden: int = -1, gated: bool = True) -> list[Stage]:
    """data → proxy → gate, and data → run, which waits for the gate; then eval."""
    run = toy.stage("run", ("data",), salt, gates=("gate",) if gated else ())
    return [
        toy.stage("data"),
        toy.stage("proxy", ("data",), gate_salt),
        toy.stage("gate", ("proxy",), forbidden=forbidden),
        replace(run, build="tests.graph.test_gates:build"),
        toy.stage("eval", ("run",)),
    ]


def make(root: Path, *names: str, agree: bool = False, **changes: Any) -> None:
    for name in names:
        materialize(toy.planner(stages(**changes), root), name, Runtime(agree=lambda _: agree))


def plan(root: Path, only: set[str] | None = None, **changes: Any) -> dict[str, PlanItem]:
    return {item.stage: item for item in toy.planner(stages(**changes), root).plan(only)}


def sign(root: Path, why: str = "the deadline", who: str | None = "Ada", **changes: Any) -> None:
    overrule(toy.planner(stages(**changes), root), "gate", why, who)


def manifest(root: Path, name: str) -> Manifest:
    """Of the last artifact of a stage."""
    artifact, _ = Store(root).last("toy", name, name)
    assert artifact is not None
    return artifact.manifest


@pytest.fixture
def closed(tmp_path: Path) -> int:
    """The remainder that closes the gate. All that comes before the run is made."""
    make(tmp_path, "data", "proxy", "gate")
    return int(manifest(tmp_path, "gate").stats["value"]) % 11


def test_a_run_waits_for_its_gate_and_records_it(tmp_path: Path) -> None:
    make(tmp_path, "data")
    with pytest.raises(PedigreeError, match=r"run needs gates that are missing(.|\n)*\ngate: never made before"):
        make(tmp_path, "run")
    assert not Store(tmp_path).has_begun("run", plan(tmp_path)["run"].identity or "")
    make(tmp_path, "proxy", "gate", "run")
    gate, (record,) = manifest(tmp_path, "gate"), manifest(tmp_path, "run").gates
    assert (record.stage, record.identity, record.content) == ("gate", gate.identity, gate.content)
    assert (record.made, record.results, record.passed) == (gate.started, gate.stats, "open")
    assert [(check.name, check.passed) for check in record.checks] == [("remainder", True)]
    assert record.launched >= gate.started


def test_the_identity_is_independent_of_gates_and_a_hit_never_asks(tmp_path: Path, closed: int) -> None:
    make(tmp_path, "run", "eval")
    identity = plan(tmp_path)["run"].identity
    assert plan(tmp_path, gated=False)["run"].identity == identity
    for changes in ({"gate_salt": 2}, {"forbidden": closed}, {"gate_salt": 2, "forbidden": closed}):
        items = plan(tmp_path, {"eval"}, **changes)
        assert {name: item.verdict for name, item in items.items()} == dict.fromkeys(("data", "run", "eval"), "hit")
        make(tmp_path, "run", "eval", **changes)
    assert toy.BUILDS == ["data", "proxy", "gate", "run", "eval"]


def test_the_plan_of_a_stage_holds_its_gate_before_it_only_while_it_is_to_be_built(tmp_path: Path) -> None:
    make(tmp_path, "data")
    items = plan(tmp_path, {"run"})
    assert list(items) == ["data", "proxy", "gate", "run"]
    assert [name for name, item in items.items() if item.only_before_gate] == ["proxy", "gate"]
    assert items["run"].verdict == "run"
    assert "gate gate: not known yet; it is made first" in items["run"].notes
    make(tmp_path, "proxy", "gate")
    assert plan(tmp_path)["run"].notes == ["gate gate: open"]
    make(tmp_path, "run")
    assert list(plan(tmp_path, {"run"})) == ["data", "run"]
    assert list(plan(tmp_path)) == ["data", "proxy", "gate", "run", "eval"]


def test_an_input_that_comes_out_as_before_needs_no_gate(tmp_path: Path, closed: int) -> None:
    make(tmp_path, "run")
    toy.CODE["data"] = 1  # it comes out equal
    planner = toy.planner(stages(gate_salt=2), tmp_path)
    items = {item.stage: item for item in planner.plan({"run"})}
    assert list(items) == ["data", "proxy", "gate", "run"]
    assert items["run"].verdict == "maybe"
    materialize(planner, "data", Runtime())
    assert planner.needed({"run"}) == {"data", "run"}
    toy.CODE["data"] = 2
    planner = toy.planner(stages(gate_salt=2), tmp_path)
    materialize(planner, "data", Runtime())
    assert planner.needed({"run"}) == {"data", "proxy", "gate", "run"}


def test_a_tightened_bound_closes_the_gate_without_a_rebuild(tmp_path: Path, closed: int) -> None:
    items = plan(tmp_path, forbidden=closed)
    reason = "gate gate is closed: check remainder failed: "
    assert (items["gate"].verdict, items["run"].verdict, items["eval"].verdict) == ("hit", "blocked", "blocked")
    assert items["run"].reasons[0].startswith(reason)
    with pytest.raises(PedigreeError, match="run does not start") as refused:
        make(tmp_path, "run", forbidden=closed)
    assert reason in str(refused.value)
    assert "pedigree overrule gate --because" in str(refused.value)
    planner = toy.planner(stages(forbidden=closed), tmp_path)
    with pytest.raises(PedigreeError, match="run does not start"):  # before anything is made
        check_requirements(planner, planner.plan(), Runtime())
    make(tmp_path, "run")
    assert toy.BUILDS == ["data", "proxy", "gate", "run"]


def test_an_overrule_opens_exactly_one_artifact_and_is_never_silent(tmp_path: Path, closed: int) -> None:
    sign(tmp_path, forbidden=closed)
    (note,) = plan(tmp_path, forbidden=closed)["run"].notes
    assert note.startswith("gate gate is closed: check remainder failed: ")
    assert "overruled by Ada on " in note
    assert note.endswith(": the deadline)")
    make(tmp_path, "run", forbidden=closed)
    (record,) = manifest(tmp_path, "run").gates
    assert record.overrule is not None
    assert (record.passed, record.overrule.who, record.overrule.why) == ("overruled", "Ada", "the deadline")
    assert record.overrule.identity == record.identity
    assert any("overruled by Ada" in note for note in plan(tmp_path)["run"].notes)
    # Another artifact of the gate is as closed as before.
    make(tmp_path, "proxy", "gate", gate_salt=2)
    other = int(manifest(tmp_path, "gate").stats["value"]) % 11
    with pytest.raises(PedigreeError, match="gate gate is closed"):
        make(tmp_path, "run", salt=2, gate_salt=2, forbidden=other)


def test_what_can_be_overruled(tmp_path: Path, closed: int) -> None:
    with pytest.raises(PedigreeError, match="nothing to overrule: gate gate: open"):
        sign(tmp_path)
    with pytest.raises(PedigreeError, match="needs its reason"):
        sign(tmp_path, why=" ", forbidden=closed)
    with pytest.raises(PedigreeError, match="needs a name"):
        sign(tmp_path, who=" ", forbidden=closed)
    with pytest.raises(PedigreeError, match="gate must be made before it can be overruled"):
        sign(tmp_path, gate_salt=2)
    with pytest.raises(PedigreeError, match="proxy is not a gate of toy; gates: gate"):
        overrule(toy.planner(stages(), tmp_path), "proxy", "because")
    sign(tmp_path, forbidden=closed, who=None)
    decision = Store(tmp_path).overruled("gate", manifest(tmp_path, "gate").identity)
    assert decision is not None
    assert decision.who
    assert [check.name for check in decision.checks] == ["remainder"]
    with pytest.raises(PedigreeError, match=r"nothing to overrule: .*overruled by"):
        sign(tmp_path, forbidden=closed)


def also(results: toy.Value, bounds: dict[str, int]) -> Any:
    return toy.remainder(results, bounds)


def test_an_overrule_does_not_cover_a_check_that_failed_later(tmp_path: Path, closed: int) -> None:
    sign(tmp_path, forbidden=closed)
    data, proxy, gate, *later = stages(forbidden=closed)
    gate = replace(gate, blocking=(*gate.blocking, "tests.graph.test_gates:also"))
    planner = toy.planner([data, proxy, gate, *later], tmp_path)
    with pytest.raises(PedigreeError, match="check also failed"):
        materialize(planner, "run", Runtime())


def begin(root: Path) -> None:
    """A run that was killed, with its work kept."""
    KILLED.add("run")
    with pytest.raises(PedigreeError, match="killed"):
        make(root, "run")
    KILLED.clear()


def test_a_run_in_progress_whose_gate_closes_waits_for_a_yes_and_keeps_its_work(tmp_path: Path, closed: int) -> None:
    begin(tmp_path)
    identity = plan(tmp_path)["run"].identity or ""
    (work,) = (tmp_path / "work" / "run").iterdir()
    item = plan(tmp_path, forbidden=closed)["run"]
    assert item.verdict == "run"
    assert "waits for a yes (--yes): it has begun, and its gate has closed since" in item.notes
    with pytest.raises(PedigreeError, match=r"run has begun, and since then: gate gate is closed.*without a yes"):
        make(tmp_path, "run", forbidden=closed)
    assert work.name == identity
    assert Store(tmp_path).has_begun("run", identity)
    make(tmp_path, "run", forbidden=closed, agree=True)
    first, second = manifest(tmp_path, "run").gates
    assert (first.passed, second.passed, second.failed) == ("open", "agreed", ["remainder"])
    assert first.identity == second.identity


def test_a_run_that_goes_on_keeps_the_gate_of_its_launch(tmp_path: Path, closed: int) -> None:
    begin(tmp_path)
    launched = manifest(tmp_path, "gate")
    with pytest.raises(PedigreeError, match="run needs gates that are missing"):  # it is not yet built
        make(tmp_path, "run", gate_salt=2)
    make(tmp_path, "proxy", "gate", gate_salt=2)
    make(tmp_path, "run", gate_salt=2)
    identities = [record.identity for record in manifest(tmp_path, "run").gates]
    assert identities == [launched.identity, manifest(tmp_path, "gate").identity]


def test_attempts_behind_the_same_gate_are_one_record(tmp_path: Path, closed: int) -> None:
    begin(tmp_path)
    begin(tmp_path)
    make(tmp_path, "run")
    assert len(manifest(tmp_path, "run").gates) == 1


def test_what_is_made_again_needs_its_gate(tmp_path: Path, closed: int) -> None:
    make(tmp_path, "run")
    planner = toy.planner(stages(forbidden=closed), tmp_path)
    with pytest.raises(PedigreeError, match="run does not start"):
        materialize(planner, "run", Runtime(), again=True)
    again = materialize(toy.planner(stages(), tmp_path), "run", Runtime(), again=True)
    assert again.cache == "made"
    assert len(again.artifact.manifest.gates) == 1


def test_a_gate_that_is_blocked_blocks(tmp_path: Path) -> None:
    make(tmp_path, "data", "proxy")
    forbidden = int(manifest(tmp_path, "proxy").stats["value"]) % 11
    proxy = toy.stage("proxy", ("data",), forbidden=forbidden)
    data, _, *later = stages()
    items = {item.stage: item for item in toy.planner([data, proxy, *later], tmp_path).plan()}
    assert items["run"].reasons[0] == "its gate gate is blocked"
    assert items["run"].verdict == "blocked"


def test_a_manifest_seals_its_gates_and_one_without_is_as_ever(tmp_path: Path, closed: int) -> None:
    make(tmp_path, "run")
    folder = next(Store(tmp_path).artifacts("run")).path
    path = folder / "manifest.json"
    path.chmod(0o644)
    written = path.read_text()
    path.write_text(written.replace('"passed":"open"', '"passed":"agreed"'))
    with pytest.raises(PedigreeError, match="damaged"):
        read_manifest(folder)
    other = next(Store(tmp_path).artifacts("data")).path / "manifest.json"
    assert '"gates"' not in other.read_text()


def test_lineage_and_views_hold_the_gate(tmp_path: Path, closed: int) -> None:
    sign(tmp_path, forbidden=closed)
    make(tmp_path, "run", forbidden=closed)
    store = Store(tmp_path)
    ((record, gate),) = ancestry(store, next(store.artifacts("run"))).gates
    assert isinstance(record, GateRecord)
    assert gate is not None
    assert [below.artifact.manifest.stage for below in gate.inputs] == ["proxy"]
    with open_views(tmp_path) as views:
        rows = views.execute("SELECT stage, gate, passed, overruled_by, why, results->>'value' FROM gates").fetchall()
    value = str(record.results["value"])
    assert rows == [("run", "gate", "overruled", "Ada", "the deadline", value)]


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ([toy.stage("a", gates=("b",))], "stage a: its gate is 'b', but there is no such stage"),
        ([toy.stage("b"), toy.stage("a", ("b",), gates=("b",))], "stage a: 'b' is its gate and its input"),
        ([toy.stage("a", gates=("b",)), toy.stage("b", ("a",))], "stages form a cycle: a, b"),
    ],
)
def test_gates_that_do_not_fit_into_the_graph(declared: list[Stage], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Graph("toy", declared)


def test_a_gate_comes_before_its_stage() -> None:
    assert [stage.name for stage in Graph("toy", [toy.stage("a", gates=("b",)), toy.stage("b")])] == ["b", "a"]
