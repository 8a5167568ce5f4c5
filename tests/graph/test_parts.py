import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.code_claim import CodeClaim
from llm_core.graph.code_digest import CodeReader
from llm_core.graph.execute import materialize
from llm_core.graph.graph import Graph
from llm_core.graph.identity import part_claim
from llm_core.graph.job import Job, Runtime
from llm_core.graph.part import InputFile, PartTask
from llm_core.graph.plan import Planner
from llm_core.graph.stage import Stage
from llm_core.store.home import PROJECT
from llm_core.store.parts import Part, PartStore, recorded
from llm_core.store.store import Store
from tests.graph.part_functions import shout, shouting


def job(root: Path, workers: int = 2, **more: object) -> Job:
    out = root / "out"
    out.mkdir(parents=True)
    runtime = Runtime(compute=ComputeSpec(workers=workers))
    return Job("stage", "identity", {}, root, out, runtime, parts=root.parent / "parts", **more)  # type: ignore[arg-type]


def texts(folder: Path, **contents: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in contents.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def written(job: Job) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted((job.out / "parts").glob("*"))}


def test_parts_are_made_by_workers_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one", b="two", c="three")
    for workers in (1, 2, 3):
        own = Job(
            "stage",
            "i",
            {},
            tmp_path / f"w{workers}",
            tmp_path / f"w{workers}/out",
            Runtime(compute=ComputeSpec(workers=workers)),
        )
        own.out.mkdir(parents=True)
        parts = own.map(shouting(source))
        assert [part.name for part in parts] == ["a", "b", "c"]
        assert written(own) == {"a.txt": "ONE!", "b.txt": "TWO!", "c.txt": "THREE!"}
        assert ({part.stats["worker"] for part in parts} == {os.getpid()}) == (workers == 1)


def test_found_parts_are_not_made_again(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one", b="two")
    first = job(tmp_path / "first")
    first.map(shouting(source))
    texts(source, b="other")
    second = job(tmp_path / "second")
    second.map(shouting(source))
    assert dict(first.part_counts) == {"found": 0, "made": 2}
    assert dict(second.part_counts) == {"found": 1, "made": 1}
    assert written(second) == {"a.txt": "ONE!", "b.txt": "OTHER!"}
    assert (second.out / "parts/a.txt").samefile(first.out / "parts/a.txt")


@pytest.mark.parametrize("change", ["config", "code", "name", "settings"])
def test_all_that_goes_into_a_part_is_in_its_key(change: str, tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one")
    job(tmp_path / "first").map(shouting(source))
    (task,) = shouting(source, "?" if change == "config" else "!")
    if change in ("name", "settings"):
        task = PartTask(
            "z" if change == "name" else "a", shout, task.inputs, task.config, {"x": 1} if change == "settings" else {}
        )
    second = job(tmp_path / "second", part_claim=lambda _: CodeClaim(digest="new" if change == "code" else ""))
    second.map([task])
    assert second.part_counts["made"] == 1


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one")
    (part,) = job(tmp_path / "first").map(shouting(source))
    path = part.folder / "parts/a.txt"
    path.chmod(0o644)
    path.write_text("ONE?")
    second = job(tmp_path / "second")
    second.map(shouting(source))
    assert second.part_counts["made"] == 1
    assert written(second) == {"a.txt": "ONE!"}


def test_an_error_keeps_what_is_finished(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one", b="raise", c="three", d="four")
    with pytest.raises(PedigreeError, match="b: asked to fail"):
        job(tmp_path / "first").map(shouting(source))
    texts(source, b="two")
    second = job(tmp_path / "second")
    second.map(shouting(source))
    assert second.part_counts["found"] >= 1
    assert written(second) == {"a.txt": "ONE!", "b.txt": "TWO!", "c.txt": "THREE!", "d.txt": "FOUR!"}


def test_a_worker_that_is_killed_is_an_error_that_says_so(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one", b="die")
    with pytest.raises(PedigreeError, match=r"(?s)b: the worker .* died \(exit code -9.*source/b\.txt"):
        job(tmp_path / "first").map(shouting(source))


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one")
    file = InputFile.outside("a.txt", source / "a.txt")
    texts(source, a="another")
    with pytest.raises(PedigreeError, match="changed while it was read"):
        job(tmp_path / "first").map([PartTask("a", shout, {"text": file}, {"mark": ""})])
    assert not list((tmp_path / "parts").glob("??/*"))


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="wait a", b="wait b")
    script = (
        "from tests.graph.test_parts import *\n"
        f"job(Path({str(tmp_path / 'run')!r})).map(shouting(Path({str(source)!r})))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, start_new_session=True)
    try:
        making = tmp_path / "parts/making"
        wait_for(lambda: making.is_dir() and sum(path.is_dir() for path in making.iterdir()) == 2)
        children = _children(process.pid)
        assert len(children) == 2
        process.send_signal(signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in children))
    finally:
        process.kill()
        process.wait()


def wait_for(condition: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def planner(source: Path, root: Path, mark: str = "!") -> Planner:
    stages = [
        Stage(
            name="first",
            group="toy",
            description="",
            build="tests.graph.part_functions:source_build",
            results=":Characters",
            source_digests="tests.graph.part_functions:digests_of_sources",
            parts="tests.graph.part_functions:source_parts",
            config={"folder": str(source), "mark": "!"},
        ),
        Stage(
            name="second",
            group="toy",
            description="",
            build="tests.graph.part_functions:again_build",
            results=":Characters",
            parts="tests.graph.part_functions:again_parts",
            inputs={"texts": "first"},
            config={"mark": mark},
        ),
    ]
    return Planner(Graph("toy", stages), Store(root), CodeReader(PROJECT, ("llm_core", "tests")), {})


def test_a_plan_says_how_many_parts_are_there(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", **{f"t{number}": f"text {number}" for number in range(5)})
    root = tmp_path / "store"
    plan = planner(source, root).plan()
    assert [item.parts for item in plan] == [(0, 5), (0, 0)]
    for name in ("first", "second"):
        outcome = materialize(planner(source, root), name, Runtime())
        assert (outcome.artifact.stats["parts_found"], outcome.artifact.stats["parts_made"]) == (0, 5)
    texts(source, t3="changed")
    plan = planner(source, root).plan()
    assert [item.parts for item in plan] == [(4, 1), (4, 0)]
    assert "4 found, 1 to make" in plan[0].notes[-1]
    assert "4 found, 0 to make, and those of what first will make" in plan[1].notes[-1]
    contents = {}
    for name in ("first", "second"):
        outcome = materialize(planner(source, root), name, Runtime())
        assert (outcome.artifact.stats["parts_found"], outcome.artifact.stats["parts_made"]) == (4, 1)
        contents[name] = outcome.artifact.manifest.content
    # From nothing it comes out as from the parts.
    other = tmp_path / "other"
    for name, content in contents.items():
        assert materialize(planner(source, other), name, Runtime()).artifact.manifest.content == content


@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_plan_counts_damaged_parts_as_missing(damage: str, tmp_path: Path) -> None:
    source = texts(tmp_path / "source", **{f"t{number}": f"text {number}" for number in range(5)})
    root = tmp_path / "store"
    materialize(planner(source, root), "first", Runtime())
    shutil.rmtree(root / "artifacts")
    path = next((root / "parts" / "first").rglob("t3.txt"))
    path.chmod(0o644)
    if damage == "remove":
        path.unlink()
    else:
        path.write_text({"cut": "TEXT", "flip": "TEXT 9!"}[damage])
    item = planner(source, root).plan()[0]
    assert (item.parts, item.notes[-1]) == ((4, 1), "parts: 4 found, 1 to make")
    assert materialize(planner(source, root), "first", Runtime()).artifact.stats["parts_made"] == 1


def test_a_copied_store_has_whole_parts(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one", b="two")
    materialize(planner(source, tmp_path / "store"), "first", Runtime())
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "store" / "parts", copy / "parts", copy_function=shutil.copyfile)
    for record in copy.rglob("part.json"):
        os.utime(record, (1, 1))  # whatever the order in which a copy is made
    assert planner(source, copy).plan()[0].parts == (2, 0)


def test_a_stage_that_is_made_again_makes_its_parts_again(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one", b="two")
    root = tmp_path / "store"
    before = materialize(planner(source, root), "first", Runtime())
    again = materialize(planner(source, root), "first", Runtime(), again=True)
    assert (again.artifact.stats["parts_found"], again.artifact.stats["parts_made"]) == (0, 2)
    assert again.artifact.manifest.content == before.artifact.manifest.content


def test_how_many_parts_were_there_is_no_part_of_the_content(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one", b="two")
    first = materialize(planner(source, tmp_path / "store"), "first", Runtime()).artifact.manifest
    texts(source, c="three")
    materialize(planner(source, tmp_path / "store"), "first", Runtime())
    (source / "c.txt").unlink()
    again = planner(source, tmp_path / "store").plan()[0]
    assert again.verdict == "hit"
    assert again.artifact is not None
    assert again.artifact.manifest.content == first.content


def commit(root: Path, key: str = "ab" * 16, **stats: object) -> Part:
    store = PartStore(root)
    scratch = store.scratch(key)
    (scratch / "file").write_text("text")
    return store.commit("a", key, scratch, *recorded(scratch, stats))


def test_a_part_that_another_process_commits_just_now_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, committed = PartStore._record, []

    def late(store: PartStore, key: str) -> dict[str, Any] | None:
        found = look(store, key)
        if found is None:
            monkeypatch.undo()
            committed.append(commit(store.root, key))
        return found

    monkeypatch.setattr(PartStore, "_record", late)
    PartStore(tmp_path).find("a", "ab" * 16)
    assert all((part.folder / "part.json").is_file() for part in committed)


def test_clearing_up_beside_a_worker_that_commits(tmp_path: Path) -> None:
    making = tmp_path / "making"
    making.mkdir()
    (making / "gone.maker.json").symlink_to(tmp_path / "nothing")  # listed, and not there any more
    PartStore(tmp_path).clear()


def test_clearing_up_removes_what_dead_workers_left_and_nothing_else(tmp_path: Path) -> None:
    store = PartStore(tmp_path)
    dead, living, young = (store.scratch(letter * 32) for letter in "abc")
    (dead / "half").write_text("made")
    mine = dead.with_name("mine")
    mine.mkdir()
    misleading = mine.with_name("other.maker.json")
    misleading.write_text(json.dumps({"making": "mine", "host": "elsewhere", "pid": 1}))
    (mine.with_name("torn.maker.json")).write_text("{")
    note = dead.with_name(f"{dead.name}.maker.json")
    note.write_text(json.dumps({**json.loads(note.read_text()), "host": "elsewhere"}))
    for path in (note, mine, misleading, dead, living, living.with_name(f"{living.name}.maker.json")):
        os.utime(path, (0, 0))
    store.clear()
    assert sorted(path.name for path in (tmp_path / "making").iterdir() if path.is_dir()) == sorted(
        [living.name, mine.name, young.name]
    )
    assert not note.exists()


def test_what_lies_in_a_parts_place_and_is_none_is_put_aside(tmp_path: Path) -> None:
    folder = PartStore(tmp_path).folder("ab" * 16)
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    assert PartStore(tmp_path).find("a", "ab" * 16) is None
    (aside,) = (tmp_path / "quarantine").iterdir()
    assert (aside / "notes.txt").read_text() == "mine"
    assert commit(tmp_path).folder == folder


@pytest.mark.parametrize(
    "damage", [lambda text: text.replace("100", "900"), lambda text: '{"files": [1], "stats": {}}']
)
def test_a_damaged_record_is_noticed(tmp_path: Path, damage: Callable[[str], str]) -> None:
    part = commit(tmp_path, documents=100)
    store = PartStore(tmp_path)
    assert store.find("a", "ab" * 16) == part
    record = part.folder / "part.json"
    record.write_text(damage(record.read_text()))
    assert store.known("ab" * 16) is None
    assert store.find("a", "ab" * 16) is None
    assert not part.folder.exists()


def test_what_fails_leaves_nothing_half_made(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="raise")
    with pytest.raises(PedigreeError):
        job(tmp_path / "first").map(shouting(source))
    assert not list((tmp_path / "parts/making").iterdir())


def test_a_function_that_a_worker_can_not_import_is_an_error_and_no_wait_without_end(tmp_path: Path) -> None:
    module = types.ModuleType("stands_on_no_disk")
    exec("def part(work):\n    return {}\n", vars(module))
    sys.modules["stands_on_no_disk"] = module
    tasks = [PartTask(name, module.part) for name in "ab"]
    with pytest.raises(ModuleNotFoundError, match="stands_on_no_disk"):
        job(tmp_path / "first").map(tasks)


def test_parts_that_are_asked_for_twice_are_counted_once(tmp_path: Path) -> None:
    source = texts(tmp_path / "source", a="one", b="two")
    own = job(tmp_path / "first")
    own.map(shouting(source), link=False)
    own.map(shouting(source))
    assert dict(own.part_counts) == {"found": 0, "made": 2}
    again = job(tmp_path / "second")
    again.map(shouting(source), link=False)
    again.map(shouting(source))
    assert dict(again.part_counts) == {"found": 2, "made": 0}


def test_a_part_is_not_kept_under_the_name_of_code_that_is_gone(tmp_path: Path) -> None:
    """Workers import when they start: what is edited after the plan read it runs, and the key would not know."""
    source = texts(tmp_path / "source", a="one")
    reader = CodeReader(PROJECT, ("llm_core", "tests"))
    (task,) = shouting(source)
    as_read = part_claim(task, reader)
    sources = tuple((name, (*stamp[:1], 1, *stamp[2:])) for name, stamp in as_read.sources)
    touched = as_read.model_copy(update={"sources": sources})
    assert as_read.sources
    assert len(job(tmp_path / "first", part_claim=lambda _: touched).map([task])) == 1  # saved again, and the same
    other = touched.model_copy(update={"digest": "0" * 32})
    with pytest.raises(PedigreeError, match="a: the code has changed since"):
        job(tmp_path / "second", part_claim=lambda _: other).map([task])
    assert not list((tmp_path / "parts/making").iterdir())
