"""A stage that is made again though it is there."""

from pathlib import Path
from typing import Any

import pytest

from llm_core.graph.accept import accept
from llm_core.graph.execute import Outcome, materialize
from llm_core.graph.job import Job, Runtime
from llm_core.graph.stage import Stage
from llm_core.store.store import Store
from llm_core.store.work import AGAIN
from tests.graph import toy


@pytest.fixture(autouse=True)
def _fresh() -> None:
    toy.reset()


def chaotic(job: Job, name: str, salt: int) -> toy.Value:
    """Another result every time, under one identity."""
    toy.BUILDS.append(name)
    (job.out / "value").write_text(f"{len(toy.BUILDS):05d}")
    return toy.Value(value=1)


def interrupted(job: Job, name: str, salt: int) -> toy.Value:
    """Ends half-way at the first attempt; the second finds what the first one left."""
    left = job.work / "scratch"
    if not left.exists():
        left.mkdir()
        raise KeyboardInterrupt
    return toy.build(job, name, salt)


def chain(**more: Any) -> list[Stage]:
    return [toy.stage("a"), Stage(**{**vars(toy.stage("b", ("a",))), **more}), toy.stage("c", ("b",))]


def run(stages: list[Stage], root: Path, again: str = "", log: Any = print) -> dict[str, Outcome]:
    runtime = Runtime(log=log)
    return {
        stage.name: materialize(toy.planner(stages, root), stage.name, runtime, again=stage.name == again)
        for stage in stages
    }


def test_the_new_one_replaces_the_old_one_which_is_put_aside(tmp_path: Path) -> None:
    run(chain(), tmp_path)
    lines: list[str] = []
    found = run(chain(), tmp_path, again="b", log=lines.append)
    assert toy.BUILDS == ["a", "b", "c", "b"]
    assert {name: outcome.cache for name, outcome in found.items()} == {"a": "hit", "b": "made", "c": "hit"}
    assert (found["b"].finding, lines) == (None, ["b: built again, and its content is the same"])
    (aside,) = (tmp_path / "quarantine" / "b").iterdir()
    assert (aside / "clock").read_text() == "2"
    assert (found["b"].artifact.path / "clock").read_text() == "4"
    assert not list((tmp_path / "work" / "b").iterdir())


def test_a_result_that_came_out_otherwise_is_a_finding(tmp_path: Path) -> None:
    stages = chain(build="tests.graph.test_again:chaotic")
    run(stages, tmp_path)
    found = run(stages, tmp_path, again="b")
    assert "b: built again, and its content has changed" in (found["b"].finding or "")
    assert "differs in value): its result depends on something outside its identity" in (found["b"].finding or "")
    assert found["c"].cache == "made"


def test_what_was_accepted_wrongly_is_found(tmp_path: Path) -> None:
    run(chain(), tmp_path)
    toy.CODE["b"] = 2
    accept(toy.planner(chain(), tmp_path), "b", "I am sure that it is the same")
    assert run(chain(), tmp_path)["b"].cache == "hit"
    assert "the code that was accepted has changed the result" in (run(chain(), tmp_path, again="b")["b"].finding or "")
    assert run(chain(), tmp_path)["b"].artifact.manifest.code == {"toy:b": "2"}


def test_the_old_one_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    run(chain(), tmp_path)
    stages = chain(build="tests.graph.test_again:interrupted")
    before = Store(tmp_path).last_identity("toy", "b")
    assert before is not None
    work = Store(tmp_path).work("b", before, {"stage": "b"})
    (work / "scratch").mkdir()  # of an attempt that was killed after its commit
    with pytest.raises(KeyboardInterrupt):
        run(stages, tmp_path, again="b")  # begins from the start: what lay there led to the artifact
    assert run(stages, tmp_path)["b"].cache == "hit"
    assert (work / AGAIN).exists()  # the hit took nothing of it
    assert run(stages, tmp_path, again="b")["b"].cache == "made"
    assert not work.exists()
