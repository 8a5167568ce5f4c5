from pathlib import Path

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Spec, canonical, outside_identity, without_outsiders
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.accept import accept
from llm_core.graph.changes import changed_fields, differences
from llm_core.graph.execute import Outcome, materialize
from llm_core.graph.graph import Graph
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.graph.stage import Stage
from llm_core.store.store import Store
from tests.graph import toy


@pytest.fixture(autouse=True)
def _fresh() -> None:
    toy.reset()


def chain(salt: int = 0, forbidden: int = -1) -> list[Stage]:
    return [toy.stage("a", (), salt, forbidden), toy.stage("b", ("a",)), toy.stage("c", ("b",))]


def run(stages: list[Stage], root: Path) -> dict[str, Outcome]:
    return {stage.name: materialize(toy.planner(stages, root), stage.name, Runtime()) for stage in stages}


def plan(stages: list[Stage], root: Path, **more: dict[str, str]) -> dict[str, PlanItem]:
    return {item.stage: item for item in toy.planner(stages, root, **more).plan()}


def verdicts(stages: list[Stage], root: Path) -> dict[str, str]:
    return {name: item.verdict for name, item in plan(stages, root).items()}


def test_nothing_is_made_twice(tmp_path: Path) -> None:
    first = run(chain(), tmp_path)
    second = run(chain(), tmp_path)
    assert toy.BUILDS == ["a", "b", "c"]
    assert {outcome.cache for outcome in first.values()} == {"made"}
    assert {outcome.cache for outcome in second.values()} == {"hit"}
    assert not (tmp_path / "work" / "a").exists() or not list((tmp_path / "work" / "a").iterdir())


def test_an_equal_result_stops_the_change(tmp_path: Path) -> None:
    run(chain(salt=0), tmp_path)
    changed = chain(salt=1)  # another configuration with the same result
    assert verdicts(changed, tmp_path) == {"a": "run", "b": "maybe", "c": "maybe"}
    run(changed, tmp_path)
    assert toy.BUILDS == ["a", "b", "c", "a"]


def test_a_plan_names_the_field_the_function_the_source_and_the_input(tmp_path: Path) -> None:
    run(chain(), tmp_path)
    assert plan(chain(salt=2), tmp_path)["a"].reasons == ["salt: 0 → 2"]
    toy.CODE["b"] = 2
    assert plan(chain(), tmp_path)["b"].reasons == ["code toy:b changed"]
    toy.EXTERNALS["c"] = "9"
    assert "source file changed" in plan(chain(), tmp_path)["c"].reasons
    run(chain(salt=2)[:1], tmp_path)
    assert "input a has other content" in plan(chain(salt=2), tmp_path)["b"].reasons


def test_long_lists_are_told_by_their_first_change() -> None:
    def config(heads: int, layers: int = 3) -> dict:
        return {"layers": [{"index": number, "heads": heads} for number in range(layers)], "names": ["a", "b"]}

    assert changed_fields("model", config(2), config(4)) == [
        "model.layers[0].heads: 2 → 4",
        "model.layers: 2 more entries changed",
    ]
    assert changed_fields("model", config(2), config(2, layers=4)) == ["model.layers: 3 entries → 4"]
    assert changed_fields("model", config(2), {**config(2), "names": []}) == ["model.names: ['a', 'b'] → []"]


def test_the_first_plan_and_its_times(tmp_path: Path) -> None:
    items = plan(chain(), tmp_path)
    assert items["a"].reasons == ["never made before: the experiment toy is new"]
    assert items["a"].seconds is None
    run(chain(), tmp_path)
    assert plan(chain(), tmp_path)["a"].seconds is not None
    (more,) = (item for name, item in plan([*chain(), toy.stage("d")], tmp_path).items() if name == "d")
    assert more.reasons == ["never made before"]


def test_a_new_experiment_is_not_compared_with_another(tmp_path: Path) -> None:
    run(chain(), tmp_path)
    other = Planner(Graph("other", chain(salt=2)), Store(tmp_path), toy.Reader(), {})
    items = {item.stage: item for item in other.plan()}
    assert items["a"].reasons == ["never made before: the experiment other is new"]
    assert (items["a"].seconds, items["a"].previous) == (None, None)
    with pytest.raises(PedigreeError, match="never built"):
        accept(other, "a", "because")
    same = Planner(Graph("other", chain()), Store(tmp_path), toy.Reader(), {})
    assert {item.verdict for item in same.plan()} == {"hit"}  # what another made serves it all the same


def test_a_setting_that_left_identities_is_no_change_of_the_experiment(tmp_path: Path) -> None:
    class Before(Spec):
        kept: int = 1
        watched: int = 7

    class Now(Spec):
        kept: int = 1
        watched: int = outside_identity(default=9)

    before = {"training": canonical(Before()), "phases": [canonical(Before())]}
    now = {"training": Now(), "phases": (Now(),)}
    assert without_outsiders(before, now) == {name: canonical(value) for name, value in now.items()}
    manifest = run([toy.stage("a")], tmp_path)["a"].artifact.manifest
    config = {"name": "a", "salt": 0, "section": Now()}
    stage = Stage(**{**vars(toy.stage("a")), "source_digests": None, "config": config})
    manifest = manifest.model_copy(update={"source_digests": {}})
    former = manifest.model_copy(update={"config": {**manifest.config, "section": canonical(Before())}})
    own = toy.planner([stage], tmp_path).recipe("a")
    assert differences(stage, own, {}, former) == ["code of the experiment changed: some settings left identities"]
    changed = former.model_copy(update={"config": {**manifest.config, "section": canonical(Before(kept=2))}})
    assert differences(stage, own, {}, changed) == ["section.kept: 2 → 1"]


def test_stages_of_one_kind_with_equal_recipes_are_one_artifact(tmp_path: Path) -> None:
    def twin(name: str) -> Stage:
        stage = toy.stage("b", ("a",), kind="twin")
        return Stage(**{**vars(stage), "name": name})

    stages = [toy.stage("a"), twin("b"), twin("c")]
    assert verdicts(stages, tmp_path) == {"a": "run", "b": "run", "c": "hit"}
    run(stages, tmp_path)
    assert toy.BUILDS == ["a", "b"]


def test_a_closed_gate_blocks_in_a_later_run_and_opens_with_its_bound(tmp_path: Path) -> None:
    value = run(chain()[:1], tmp_path)["a"].artifact.stats["value"]
    closed = chain(forbidden=value % 11)
    assert verdicts(closed, tmp_path) == {"a": "hit", "b": "blocked", "c": "blocked"}
    with pytest.raises(PedigreeError, match="a: check remainder failed"):
        materialize(toy.planner(closed, tmp_path), "b", Runtime())
    run(chain(), tmp_path)
    assert toy.BUILDS == ["a", "b", "c"]


def test_a_part_of_the_graph_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match=r"--select '\+key:.toy/b.'.*\na: never made before"):
        materialize(toy.planner(chain(), tmp_path), "b", Runtime())


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest"])
def test_a_damaged_artifact_is_made_anew(tmp_path: Path, damage: str) -> None:
    outcome = run(chain(), tmp_path)["b"]
    path = outcome.artifact.path / ("manifest.json" if damage == "manifest" else "value")
    path.chmod(0o644)
    data = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(data[:-1])
    else:
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    item = plan(chain(), tmp_path)["b"]
    assert item.verdict == "run"
    assert "value" in item.reasons[0] or "manifest" in item.reasons[0]
    again = run(chain(), tmp_path)
    assert {name: out.cache for name, out in again.items()} == {"a": "hit", "b": "made", "c": "hit"}
    assert list((tmp_path / "quarantine" / "b").iterdir())


def test_accepting_is_recorded_and_shown(tmp_path: Path) -> None:
    run(chain(), tmp_path)
    toy.CODE["b"] = 1
    assert verdicts(chain(), tmp_path) == {"a": "hit", "b": "run", "c": "maybe"}
    alias = accept(toy.planner(chain(), tmp_path), "b", "only renamed a variable")
    item = plan(chain(), tmp_path)["b"]
    assert item.verdict == "hit"
    assert "only renamed a variable" in item.notes[0]
    assert alias.who in item.notes[0]
    run(chain(), tmp_path)
    assert toy.BUILDS == ["a", "b", "c"]


def test_accepting_needs_a_reason_and_nothing_but_changed_code(tmp_path: Path) -> None:
    stages = chain()
    with pytest.raises(PedigreeError, match="never built"):
        accept(toy.planner(stages, tmp_path), "a", "because")
    run(stages, tmp_path)
    with pytest.raises(PedigreeError, match="hit already"):
        accept(toy.planner(stages, tmp_path), "a", "because")
    toy.CODE["a"] = 1
    with pytest.raises(PedigreeError, match="reason"):
        accept(toy.planner(stages, tmp_path), "a", " ")
    with pytest.raises(PedigreeError, match=r"more than in its code.*|not only its code changed"):
        accept(toy.planner(chain(salt=1), tmp_path), "a", "because")


def test_library_drift_is_shown_and_is_no_reason(tmp_path: Path) -> None:
    made = run(chain(), tmp_path)["a"].artifact.manifest
    items = plan(chain(), tmp_path, versions={"polars": "0.0.0"})
    assert items["a"].verdict == "hit"
    assert items["a"].notes == [f"made with polars {made.versions['polars']}; here is 0.0.0"]


def test_a_graph_that_does_not_fit_together_is_an_error() -> None:
    with pytest.raises(ValueError, match="there is no such stage"):
        Graph("x", [toy.stage("b", ("a",))])
    with pytest.raises(ValueError, match="share a name"):
        Graph("x", [toy.stage("a"), toy.stage("a")])
    with pytest.raises(ValueError, match="form a cycle: a, b"):
        Graph("x", [toy.stage("a", ("b",)), toy.stage("b", ("a",))])
    assert [stage.name for stage in Graph("x", [toy.stage("b", ("a",)), toy.stage("a")])] == ["a", "b"]


def test_an_alias_whose_artifact_is_damaged_gives_way_to_what_is_made(tmp_path: Path) -> None:
    target = run(chain(), tmp_path)["b"].artifact
    toy.CODE["b"] = 1
    accept(toy.planner(chain(), tmp_path), "b", "only renamed a variable")
    (target.path / "value").chmod(0o644)
    (target.path / "value").write_text("damaged")
    run(chain(), tmp_path)
    assert set(verdicts(chain(), tmp_path).values()) == {"hit"}


def test_what_a_stage_changes_of_compute_holds_while_it_is_made_and_is_no_part_of_its_identity(tmp_path: Path) -> None:
    plain, changed = toy.stage("a"), toy.stage("a", compute={"micro_batch": 3})
    planner = toy.planner([changed], tmp_path)
    assert planner.recipe("a") == toy.planner([plain], tmp_path).recipe("a")
    materialize(planner, "a", Runtime(compute=ComputeSpec(micro_batch=9, workers=2)))
    assert (toy.COMPUTE.micro_batch, toy.COMPUTE.workers) == (3, 2)
    assert verdicts([plain], tmp_path) == {"a": "hit"}


def test_a_source_that_is_not_known_yet_stops_no_plan_and_is_asked_for_by_a_run(tmp_path: Path) -> None:
    stages = [toy.stage("a", look_up="tests.graph.toy:look_up"), toy.stage("b", ("a",))]
    toy.EXTERNALS["a"] = toy.UNKNOWN
    items = plan(stages, tmp_path)
    assert (items["a"].verdict, items["a"].reasons) == ("run", ["file: not known yet"])
    assert items["b"].verdict == "run"
    materialize(toy.planner(stages, tmp_path), "a", Runtime())
    assert verdicts(stages, tmp_path) == {"a": "hit", "b": "run"}
    toy.EXTERNALS["a"] = toy.UNKNOWN
    assert verdicts(stages, tmp_path)["a"] == "maybe", "it may be what it was"
    materialize(toy.planner(stages, tmp_path), "b", Runtime())
    assert toy.BUILDS == ["a", "b"], "asked for what is above, too"
