"""What is dear, and has only code for a reason, waits for a yes."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import AskSpec, ComputeSpec
from llm_core.graph.accept import accept, accept_several
from llm_core.graph.execute import materialize
from llm_core.graph.job import Job, Runtime
from llm_core.graph.price import Estimate, Price, price, total
from llm_core.graph.requirements import check_requirements
from llm_core.graph.stage import Stage
from llm_core.store.store import Store
from tests.graph import toy

DEAR = ComputeSpec(ask_above=AskSpec(hours=1e-9, dollars=None))
CHEAP = ComputeSpec(ask_above=AskSpec(hours=1.0, dollars=None))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    toy.reset()


def cost(compute: ComputeSpec, before: Any, name: str, salt: int) -> Estimate:
    """A stage whose work is its salt, on two GPUs."""
    return Estimate(None if before is None else (salt or 1) / (before["salt"] or 1), 3.0, 2)


def build(job: Job, name: str, salt: int) -> toy.Value:
    """It takes a while."""
    time.sleep(0.003)
    return toy.build(job, name, salt)


def chain(salt: int = 0) -> list[Stage]:
    trained = toy.stage("b", ("a",), salt, trains=True, cost="tests.graph.test_consent:cost")
    trained = replace(trained, build="tests.graph.test_consent:build")
    return [toy.stage("a"), trained, toy.stage("c", ("b",))]


def made(stages: list[Stage], root: Path, name: str, compute: ComputeSpec = DEAR, **more: Any) -> str:
    return materialize(toy.planner(stages, root), name, Runtime(compute=compute, **more)).cache


def finished(root: Path) -> None:
    for name in "abc":
        made(chain(), root, name)


def test_changed_code_alone_waits_for_a_yes_and_what_was_made_is_kept(tmp_path: Path) -> None:
    finished(tmp_path)
    kept = Store(tmp_path).last_identity("toy", "b")
    toy.CODE["b"] = 2
    questions: list[str] = []

    def no(question: str) -> bool:
        questions.append(question)
        return False

    planner = toy.planner(chain(), tmp_path)
    with pytest.raises(PedigreeError, match="b is not trained without a yes"):  # before anything is made
        check_requirements(planner, planner.plan(), Runtime(compute=DEAR))
    with pytest.raises(PedigreeError) as refused:
        made(chain(), tmp_path, "b", agree=no)
    for told in ("b is not trained without a yes", "code toy:b", " s (by the last time)", "compute.ask_above"):
        assert told in str(refused.value)
    assert "pedigree accept b --why" in str(refused.value)
    assert "--yes" in str(refused.value)
    assert questions[0].startswith("Only code has changed since b was trained (code toy:b)")
    with pytest.raises(PedigreeError, match="b: code toy:b changed"):
        made(chain(), tmp_path, "c")
    assert (toy.BUILDS, Store(tmp_path).last_identity("toy", "b")) == (["a", "b", "c"], kept)
    assert not Store(tmp_path).has_begun("b", toy.planner(chain(), tmp_path).plan({"b"})[-1].identity)
    toy.CODE["b"] = 0
    assert {item.verdict for item in toy.planner(chain(), tmp_path).plan()} == {"hit"}
    toy.CODE["b"] = 2
    assert made(chain(), tmp_path, "b", agree=lambda _: True) == "made"


def test_what_is_cheap_or_new_or_changed_otherwise_is_not_asked_about(tmp_path: Path) -> None:
    finished(tmp_path)  # new
    toy.CODE["b"] = 2
    assert made(chain(), tmp_path, "b", CHEAP) == "made"
    toy.CODE["b"] = 4
    assert made(chain(), tmp_path, "b", ComputeSpec(ask_above=None)) == "made"
    toy.CODE["b"] = 6
    assert made(chain(salt=2), tmp_path, "b") == "made"  # a setting, too
    toy.CODE["a"] = 2  # no training
    assert made(chain(salt=2), tmp_path, "a") == "made"
    toy.CODE["b"] = 8
    with pytest.raises(PedigreeError, match="b is not trained without a yes"):  # its input differs, for code as well
        made(chain(salt=2), tmp_path, "b")
    toy.EXTERNALS["a"] = "1"
    toy.CODE["a"] = 4
    assert made(chain(salt=2), tmp_path, "a") == "made"  # other sources
    assert made(chain(salt=2), tmp_path, "b") == "made"


def test_an_input_that_comes_out_as_before_is_no_reason(tmp_path: Path) -> None:
    finished(tmp_path)
    toy.CODE.update(a=1, b=1)  # an upgrade of both; the data come out equal
    assert made(chain(), tmp_path, "a") == "made"
    with pytest.raises(PedigreeError, match="b is not trained without a yes"):
        made(chain(), tmp_path, "b")


def test_a_yes_counts_for_the_attempts_after_it(tmp_path: Path) -> None:
    finished(tmp_path)
    toy.CODE["b"] = 2
    identity = toy.planner(chain(), tmp_path).plan({"b"})[-1].identity
    assert identity is not None
    Store(tmp_path).work("b", identity, {"stage": "b"})
    assert made(chain(), tmp_path, "b") == "made"


def test_an_artifact_that_is_gone_or_damaged_is_made_without_asking(tmp_path: Path) -> None:
    finished(tmp_path)
    value = Store(tmp_path).folder("b", Store(tmp_path).last_identity("toy", "b")) / "value"
    value.chmod(0o644)
    value.write_text("x")
    assert made(chain(), tmp_path, "b") == "made"


def test_prices(tmp_path: Path) -> None:
    paid = ComputeSpec(price_per_gpu_hour=2.0)
    stages = chain(salt=1)
    stage = stages[1]
    assert price(stage, None, paid) == Price(3.0, 12.0, "preflight")
    assert price(stages[0], None, paid) == Price()
    for name in "ab":
        made(stages, tmp_path, name)
    manifest = toy.planner(stages, tmp_path).previous(stage)
    assert manifest is not None
    on_cpu = manifest.model_copy(update={"seconds": 1800.0})
    assert price(stage, on_cpu, paid) == Price(0.5, None, "last time")
    assert price(chain(salt=3)[1], on_cpu, paid) == Price(1.5, None, "last time")
    on_gpus = on_cpu.model_copy(update={"stats": {"device": "NVIDIA H100", "ranks": 8, "seconds_training": 3600.0}})
    assert price(stage, on_gpus, paid) == Price(1.0, 16.0, "last time")  # its last attempt took half of the run
    assert price(stage, on_gpus, ComputeSpec()) == Price(1.0, None, "last time")
    elsewhere = ComputeSpec(target="h100x8", price_per_gpu_hour=2.0)
    assert price(stage, on_cpu, elsewhere) == Price(3.0, 12.0, "preflight")


def test_sums_and_bounds_of_prices() -> None:
    known, unknown = total([Price(1.0, 2.0, "last time"), Price(), Price(0.5)])
    assert (known, unknown) == (Price(1.5, 2.0), 1)
    assert total([Price()]) == (Price(), 1)
    assert (str(Price()), str(Price(0.5)), str(Price(2.0, 41.0))) == ("unknown", "30 min 00 s", "2 h 00 min, $41.00")
    bound = AskSpec()
    assert [cost.above(bound) for cost in (Price(1.1), Price(0.1, 20.5), Price(1.0, 20.0), Price())] == [
        *(True, True, False, False)
    ]
    assert not Price(9.0).above(None)
    assert not Price(9.0, 5.0).above(AskSpec(hours=None))


def test_several_stages_are_accepted_in_the_order_of_the_graph(tmp_path: Path) -> None:
    finished(tmp_path)
    toy.CODE.update(a=1, b=1)

    def fresh() -> Any:
        return toy.planner(chain(), tmp_path)

    with pytest.raises(PedigreeError, match="b can't be accepted yet"):
        accept(fresh(), "b", "because")
    names = [name for name, alias in accept_several(fresh(), ["c", "b", "a"], "only renamed") if alias]
    assert names == ["a", "b"]  # c was a hit by then
    assert {item.verdict for item in fresh().plan()} == {"hit"}
    toy.CODE.update(a=2, c=1)
    assert [name for name, _ in accept_several(fresh(), None, "renamed again")] == ["a", "c"]
    assert list(accept_several(fresh(), None, "nothing is left")) == []
