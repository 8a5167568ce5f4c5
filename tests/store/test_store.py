import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import PedigreeError
from llm_core.graph.execute import materialize
from llm_core.graph.job import Job, Runtime
from llm_core.graph.lineage import by_name
from llm_core.graph.plan import Planner
from llm_core.graph.stage import Stage
from llm_core.store.decisions import Alias
from llm_core.store.digests import file_digest, source_digest, stamp
from llm_core.store.files import write_atomically
from llm_core.store.lease import lease
from llm_core.store.manifest import Artifact
from llm_core.store.store import Store, content_digest
from llm_core.store.views import open_views
from llm_core.store.work import begin, clear
from tests.graph import toy


@pytest.fixture(autouse=True)
def _fresh() -> None:
    toy.reset()


def link(job: Job, name: str, salt: int) -> toy.Value:
    (job.out / "link").symlink_to("/etc/hostname")
    return toy.Value(value=1)


def full_disk(job: Job, name: str, salt: int) -> toy.Value:
    (job.out / "half").write_text("half")
    raise OSError(errno.ENOSPC, "No space left on device", str(job.out / "half"))


def slow(job: Job, name: str, salt: int) -> toy.Value:
    with (job.work.parents[2] / "builds").open("a") as log:
        log.write("built\n")
    time.sleep(1.5)
    (job.out / "value").write_text("1")
    return toy.Value(value=1)


def steals(job: Job, name: str, salt: int) -> toy.Value:
    (owner,) = (job.work.parents[2] / "leases").glob("*.json")
    owner.write_text(json.dumps({"token": "another", "pid": 7, "host": "elsewhere"}))
    (job.out / "value").write_text("1")
    return toy.Value(value=1)


def planner(build: str, root: Path) -> Planner:
    stage = toy.stage("a")
    return toy.planner([Stage(**{**vars(stage), "build": f"tests.store.test_store:{build}"})], root)


def edit_and_put_time_back(path: Path, content: str) -> None:
    """A same-size edit that leaves the time of change as it was."""
    status = path.stat()
    path.chmod(0o644)
    path.write_text(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rot_unseen(store: Store, artifact: Artifact) -> None:
    """Rot of the disk: the content is another, and the stamp is what is remembered."""
    edit_and_put_time_back(artifact.path / "value", "99999")
    memory = store.root / "stamps" / artifact.manifest.kind / f"{artifact.manifest.identity}.json"
    memory.write_text(
        json.dumps({record.path: stamp(artifact.path / record.path) for record in artifact.manifest.files})
    )


def nothing_committed(root: Path) -> bool:
    return not list(root.glob("artifacts/*/*"))


def test_a_link_is_no_part_of_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match="no links"):
        materialize(planner("link", tmp_path), "a", Runtime())
    assert nothing_committed(tmp_path)


def test_a_full_disk_is_named_and_commits_nothing(tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match=r"half: the disk is full\. Nothing was committed"):
        materialize(planner("full_disk", tmp_path), "a", Runtime())
    assert nothing_committed(tmp_path)


def test_a_full_disk_at_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("llm_core.store.store.write_atomically", no_room)
    with pytest.raises(PedigreeError, match="the disk is full"):
        materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime())
    assert nothing_committed(tmp_path)
    monkeypatch.undo()
    assert materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime()).cache == "made"


def test_who_lost_the_lease_cannot_commit(tmp_path: Path) -> None:
    with pytest.raises(PedigreeError, match="process 7 on elsewhere took over the lease"):
        materialize(planner("steals", tmp_path), "a", Runtime())
    assert nothing_committed(tmp_path)


def _materialize_slowly(root: Path) -> None:
    materialize(planner("slow", root), "a", Runtime())


def test_two_runs_at_once_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_materialize_slowly, args=(tmp_path,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert (tmp_path / "builds").read_text() == "built\n"


def test_a_dead_owners_lease_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from llm_core.store.lease import lease\n"
        "with lease(Path(sys.argv[1]), 'x'): print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    told: list[str] = []

    def waiting(line: str) -> None:
        told.append(line)
        os.kill(owner.pid, signal.SIGKILL)

    with lease(tmp_path, "x", waiting) as held:
        held.check()
    owner.wait()
    owner.stdout.close()
    assert f"waiting for process {owner.pid} on " in told[0]


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_materialize_slowly, args=(tmp_path,))
    process.start()
    while not (tmp_path / "builds").exists():
        time.sleep(0.02)
    process.kill()
    process.join()
    assert nothing_committed(tmp_path)
    assert materialize(planner("slow", tmp_path), "a", Runtime()).cache == "made"


def test_committed_files_are_read_only_and_volatile_ones_do_not_count(tmp_path: Path) -> None:
    artifact = materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime()).artifact
    assert {record.path: record.volatile for record in artifact.manifest.files} == {"value": False, "clock": True}
    assert (artifact.path / "value").stat().st_mode & 0o222 == 0
    again = materialize(toy.planner([toy.stage("a")], tmp_path / "other"), "a", Runtime()).artifact
    assert (again.path / "clock").read_bytes() != (artifact.path / "clock").read_bytes()
    assert again.manifest.content == artifact.manifest.content


def test_atomic_writes_leave_no_temporary_files(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"one")
    write_atomically(tmp_path / "a", b"two")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"two")]


def test_a_hit_does_not_read_files_again_but_a_full_check_does(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime()).artifact
    rot_unseen(store, artifact)
    assert store.verifier.damage(artifact) is None
    assert "is damaged" in (store.verifier.damage(artifact, full=True) or "")


def test_a_commit_that_was_killed_at_its_rename_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [toy.stage("a")]

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            materialize(toy.planner(stages, tmp_path), "a", Runtime())
    (work,) = (tmp_path / "work" / "a").iterdir()
    assert (work / "out" / "manifest.json").exists()
    (work / "out" / ".manifest.json.77.tmp").write_text("half")
    artifact = materialize(toy.planner(stages, tmp_path), "a", Runtime()).artifact
    assert {record.path for record in artifact.manifest.files} == {"value", "clock"}
    assert toy.planner(stages, tmp_path).plan()[0].verdict == "hit"


def test_work_that_a_kill_left_behind_a_commit_is_cleared_by_the_next_hit(tmp_path: Path) -> None:
    stages = [toy.stage("a")]
    artifact = materialize(toy.planner(stages, tmp_path), "a", Runtime()).artifact
    leftover = tmp_path / "work" / "a" / artifact.manifest.identity
    begin(leftover, {"kind": "a", "identity": artifact.manifest.identity})
    materialize(toy.planner(stages, tmp_path), "a", Runtime())
    assert not leftover.exists()


def test_rot_that_a_full_check_found_is_mended_by_the_next_run(tmp_path: Path) -> None:
    stages = [toy.stage("a")]
    artifact = materialize(toy.planner(stages, tmp_path), "a", Runtime()).artifact
    rot_unseen(Store(tmp_path), artifact)
    assert Store(tmp_path).verifier.damage(artifact, full=True)
    assert materialize(toy.planner(stages, tmp_path), "a", Runtime()).cache == "made"


def test_statistics_count_as_content_but_for_volatile_ones() -> None:
    def digest(**stats: float) -> str:
        return content_digest([], stats, ("seconds",))

    assert digest(loss=1.0, seconds=2.0) == digest(loss=1.0, seconds=3.0)
    assert digest(loss=1.0) != digest(loss=2.0)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that a verifier has hashed."""
    seen: list[Path] = []

    def counting(path: Path) -> str:
        seen.append(path)
        return file_digest(path)

    monkeypatch.setattr("llm_core.store.verify.file_digest", counting)
    return seen


def test_an_edit_that_puts_the_time_back_is_no_hit(tmp_path: Path) -> None:
    stages = [toy.stage("a")]
    artifact = materialize(toy.planner(stages, tmp_path), "a", Runtime()).artifact
    edit_and_put_time_back(artifact.path / "value", "9" * len((artifact.path / "value").read_text()))
    assert "is damaged" in (Store(tmp_path).find("a", artifact.manifest.identity)[1] or "")
    assert materialize(toy.planner(stages, tmp_path), "a", Runtime()).cache == "made"


def test_a_source_whose_time_was_put_back_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(tmp_path / "home"))
    source = tmp_path / "source.txt"
    source.write_text("one")
    first = source_digest(source)
    edit_and_put_time_back(source, "two")  # at once: within the tick of the file system's clock
    assert source_digest(source) == file_digest(source) != first


def test_a_new_link_costs_one_more_reading_and_no_second(tmp_path: Path, hashed: list[Path]) -> None:
    store = Store(tmp_path)
    artifact = materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime()).artifact
    hashed.clear()
    assert store.verifier.damage(artifact) is None
    assert hashed == []
    os.link(artifact.path / "value", tmp_path / "link")
    assert [store.verifier.damage(artifact) for _ in range(3)] == [None] * 3
    assert hashed == [artifact.path / "value"]


def test_a_moved_store_is_read_once(tmp_path: Path, hashed: list[Path]) -> None:
    stages = [toy.stage("a")]
    materialize(toy.planner(stages, tmp_path / "here"), "a", Runtime())
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    hashed.clear()
    assert [toy.planner(stages, tmp_path / "there").plan()[0].verdict for _ in range(3)] == ["hit"] * 3
    assert len(hashed) == 2


def test_what_a_user_put_into_a_work_folder_is_still_there_after_the_commit(tmp_path: Path) -> None:
    work = tmp_path / "work" / "a" / (toy.planner([toy.stage("a")], tmp_path).plan()[0].identity or "")
    (work / "mine").mkdir(parents=True)
    (work / "notes.txt").write_text("mine")
    copies = work / "checkpoints"
    for name in ("step_00000008", "step_00000008.bak", "step_keep", "step_00000009"):
        (copies / name).mkdir(parents=True)
    (copies / "step_00000008" / "checkpoint.json").touch()
    (work / "final").mkdir()
    (work / "final" / "model.json").touch()
    with pytest.raises(PedigreeError, match=r"stage\.json is missing or incomplete.* move .*model\.json away"):
        materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime())
    begin_unchecked = {"kind": "a", "identity": work.name}
    (work / "stage.json").write_text(json.dumps(begin_unchecked))  # as our own attempt leaves it
    told: list[str] = []
    assert materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime(log=told.append)).cache == "made"
    left = {path.relative_to(work).as_posix() for path in work.rglob("*") if path.name != "checkpoint.json"}
    kept = {f"checkpoints/step_{name}" for name in ("00000008", "00000008.bak", "00000009", "keep")}
    assert left == {"mine", "notes.txt", "checkpoints", *kept}
    assert (copies / "step_00000008" / "checkpoint.json").exists()  # no stage has said that it is of it
    assert told == [f"{work}: contains files that were not made here; they stay"]
    materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime())
    assert (work / "notes.txt").read_text() == "mine"


def test_a_work_folder_that_tells_of_another_identity_is_not_removed(tmp_path: Path) -> None:
    identity = toy.planner([toy.stage("a")], tmp_path).plan()[0].identity or ""
    begin(tmp_path / "work" / "a" / "elsewhere", {"kind": "a", "identity": "elsewhere"})
    copy = shutil.copytree(tmp_path / "work" / "a" / "elsewhere", tmp_path / "work" / "a" / identity)
    materialize(toy.planner([toy.stage("a")], tmp_path), "a", Runtime())
    Store(tmp_path).clear_work("a", "elsewhere copy")
    assert not copy.exists()  # an empty out/ was all that it held
    assert (tmp_path / "work" / "a" / "elsewhere" / "stage.json").exists()


def test_a_copy_of_an_artifact_under_another_name_is_none(tmp_path: Path) -> None:
    stages = [toy.stage("a")]
    artifact = materialize(toy.planner(stages, tmp_path), "a", Runtime()).artifact
    shutil.copytree(artifact.path, artifact.path.with_name(f"{artifact.path.name}.bak"))
    shutil.copytree(artifact.path, artifact.path.with_name("0" * 32))
    store = Store(tmp_path)
    assert [found.path for found in store.artifacts("a")] == [artifact.path]
    assert by_name(store, "toy", artifact.manifest.identity[:8]).path == artifact.path
    assert "copied there by hand" in (store.find("a", "0" * 32)[1] or "")
    with open_views(tmp_path) as views:
        assert views.sql("SELECT count(*) FROM artifacts").fetchall() == [(1,)]


def test_a_copy_of_an_alias_serves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, second = "1" * 32, "2" * 32
    store.accept(Alias(kind="a", identity=first, target="3" * 32, code_digest="", stage="a", who="", when="", why=""))
    folder = tmp_path / "aliases" / "a"
    shutil.copy(folder / f"{first}.json", folder / f"{second}.json")
    (folder / "notes.json").write_text("mine")
    assert store.alias("a", second) is None
    assert [alias.identity for alias in store.aliases("a")] == [first]


def test_a_file_that_would_be_read_with_an_input_is_an_error(tmp_path: Path) -> None:
    stages = [toy.stage("a"), toy.stage("b", ("a",))]
    artifact = materialize(toy.planner(stages, tmp_path), "a", Runtime()).artifact
    (artifact.path / "notes.txt").write_text("no harm: no file of the artifact has this suffix")
    (artifact.path / "value copy").write_text("00001")
    with pytest.raises(PedigreeError, match=r"value copy is not a file of its input a, but would be read with it"):
        materialize(toy.planner(stages, tmp_path), "b", Runtime())
    (artifact.path / "value copy").unlink()
    assert materialize(toy.planner(stages, tmp_path), "b", Runtime()).cache == "made"


def test_what_a_stage_lists_as_its_own_goes_and_nothing_outside(tmp_path: Path) -> None:
    folder = tmp_path / "work" / "a" / ("1" * 32)
    begin(folder, {"kind": "a", "identity": folder.name})
    own, mine, outside = (
        folder / "checkpoints" / "one" / "part",
        folder / "checkpoints" / "one" / "mine",
        tmp_path / "x",
    )
    own.parent.mkdir(parents=True)
    for path in (own, mine, outside):
        path.touch()
    (folder / "own.json").write_text(
        json.dumps(["checkpoints/one/part", "checkpoints/gone", "../../../x", str(outside)])
    )
    clear(folder)
    assert (own.exists(), mine.exists(), outside.exists()) == (False, True, True)


def test_folders_that_a_stage_lists_go_when_they_are_empty(tmp_path: Path) -> None:
    folder = tmp_path / "work" / "a" / ("1" * 32)
    begin(folder, {"kind": "a", "identity": folder.name})
    own = [f"checkpoints/{name}/part" for name in ("one", "two")]
    for name in own:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).touch()
    (folder / "checkpoints" / "three").mkdir()
    (folder / "own.json").write_text(json.dumps(["checkpoints", "checkpoints/three", *own]))
    clear(folder)
    assert not folder.exists()
