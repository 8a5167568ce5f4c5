"""Damaged files that are no part of a content: warned of, put aside, never read, and no reason to train again."""

import json
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph.execute import Outcome, materialize
from llm_core.graph.job import Job, Runtime
from llm_core.graph.stage import Stage
from llm_core.store.store import Store
from tests.graph import toy


@pytest.fixture(autouse=True)
def _fresh() -> None:
    toy.reset()


def reads_the_clock(job: Job, name: str, salt: int) -> toy.Value:
    """Needs a volatile file of its input, as a branch needs a state."""
    job.path("from_a")
    job.path("from_a", "clock").read_text()
    return toy.build(job, name, salt)


def chain(build: str = "tests.graph.toy:build", **more: Any) -> list[Stage]:
    return [toy.stage("a", **more), Stage(**{**vars(toy.stage("b", ("a",))), "build": build})]


def run(stages: list[Stage], root: Path, log: Any = print, again: str = "") -> dict[str, Outcome]:
    runtime = Runtime(log=log)
    return {
        stage.name: materialize(toy.planner(stages, root), stage.name, runtime, again=stage.name == again)
        for stage in stages
    }


def harm(path: Path, damage: str) -> None:
    path.chmod(0o644)
    if damage == "flip":
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]))
    elif damage == "grow":
        path.write_text("more")
    else:
        path.unlink()


@pytest.mark.parametrize("damage", ["flip", "grow", "remove"])
def test_a_damaged_volatile_file_is_told_of_and_put_aside_and_the_rest_is_a_hit(damage: str, tmp_path: Path) -> None:
    artifact = run(chain(), tmp_path)["a"].artifact
    harm(artifact.path / "clock", damage)
    item = toy.planner(chain(), tmp_path).plan()[0]
    assert (item.verdict, list(item.damaged_files)) == ("hit", ["clock"])
    assert "the artifact is used without it" in item.notes[0]
    assert (artifact.path / "clock").exists() == (damage != "remove")  # a plan changes nothing
    lines: list[str] = []
    found = run(chain(), tmp_path, lines.append)
    assert toy.BUILDS == ["a", "b"]
    assert {outcome.cache for outcome in found.values()} == {"hit"}
    assert [line.startswith("warning: a: ") for line in lines] == [True]
    assert not (artifact.path / "clock").exists()
    assert len(list((tmp_path / "quarantine" / "a").rglob("clock"))) == (damage != "remove")
    (record,) = json.loads((tmp_path / "quarantined" / "a" / f"{artifact.manifest.identity}.json").read_text()).values()
    assert "put aside on" in record
    assert toy.planner(chain(), tmp_path).plan()[0].damaged_files == {"clock": record}
    run(chain(), tmp_path, lines.append)
    assert len(lines) == 1  # said once, and shown by every plan


def test_rot_that_only_a_full_look_finds_reaches_no_reader(tmp_path: Path) -> None:
    import os

    artifact = run(chain()[:1], tmp_path)["a"].artifact
    path = artifact.path / "clock"
    status = path.stat()
    harm(path, "flip")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    stages = chain("tests.graph.test_damaged_files:reads_the_clock")
    with pytest.raises(PedigreeError, match=r"b needs clock of its input a: .*clock.*`pedigree run --force a`"):
        run(stages, tmp_path)
    assert not Store(tmp_path).folder("b", "").exists() or not list(Store(tmp_path).folder("b", "").iterdir())
    run(stages, tmp_path, again="a")  # the remedy
    assert toy.planner(stages, tmp_path).plan()[0].damaged_files == {}
    assert not list((tmp_path / "damaged_files").rglob("*.json"))


def test_a_page_is_made_again(tmp_path: Path) -> None:
    stages = chain(rebuild_when_damaged=True)
    artifact = run(stages, tmp_path)["a"].artifact
    harm(artifact.path / "clock", "flip")
    item, after = toy.planner(stages, tmp_path).plan()
    assert (item.verdict, after.verdict) == ("run", "maybe")
    assert "clock is damaged" in item.reasons[0]
    found = run(stages, tmp_path)
    assert [outcome.cache for outcome in found.values()] == ["made", "hit"]


def test_a_file_that_was_mended_by_hand_is_read_again(tmp_path: Path) -> None:
    artifact = run(chain(), tmp_path)["a"].artifact
    content = (artifact.path / "clock").read_bytes()
    harm(artifact.path / "clock", "flip")
    run(chain(), tmp_path)
    (artifact.path / "clock").write_bytes(content)
    assert toy.planner(chain(), tmp_path).plan()[0].damaged_files == {}


def test_what_counts_as_content_condemns_as_before(tmp_path: Path) -> None:
    artifact = run(chain(), tmp_path)["a"].artifact
    harm(artifact.path / "clock", "flip")
    harm(artifact.path / "value", "grow")
    assert [item.verdict for item in toy.planner(chain(), tmp_path).plan()] == ["run", "maybe"]
