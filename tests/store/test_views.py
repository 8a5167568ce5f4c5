import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import duckdb
import numpy as np
import pytest
from xxhash import xxh3_128_hexdigest

from llm_core.evals.scores import item_line
from llm_core.graph.execute import materialize
from llm_core.graph.job import Runtime
from llm_core.store.manifest import FileRecord, read_manifest
from llm_core.store.views import damaged_metrics, open_views, view_definitions, write_views
from llm_core.train.validation_windows import WINDOWS, write_windows
from tests.graph import toy

RUN = "0" * 31 + "1"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store below a folder whose name would mislead globs, quotes and patterns."""
    toy.reset()
    root = tmp_path / "a [b]*'work'" / "store"
    stages = [toy.stage("a"), toy.stage("b", ("a",))]
    for stage in stages:
        materialize(toy.planner(stages, root), stage.name, Runtime())
    work = root / "work" / "training_run" / RUN
    work.mkdir(parents=True)
    about = {"kind": "training_run", "stage": "pretrained_model", "experiment": "toy", "identity": RUN}
    (work / "stage.json").write_text(json.dumps(about))
    lines = [{"step": step, "loss": 4.0 - step, "skipped": False, "time": 1e9, "seconds": 1.0} for step in (1, 2)]
    (work / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 3, "lo')
    return root


def rows(root: Path, sql: str) -> list[tuple]:
    with open_views(root) as connection:
        return connection.sql(sql).fetchall()


def test_every_view_is_there_in_an_empty_store(tmp_path: Path) -> None:
    for view in view_definitions(tmp_path):
        assert rows(tmp_path, f"FROM {view}") == []


def test_artifacts_inputs_and_checks(store: Path) -> None:
    assert rows(store, "SELECT stage, bytes > 0 FROM artifacts ORDER BY stage") == [("a", True), ("b", True)]
    assert rows(store, "SELECT stage, input_stage FROM inputs") == [("b", "a")]
    assert rows(store, "SELECT DISTINCT name, passed, blocking FROM checks") == [("remainder", True, True)]
    (path,) = rows(store, "SELECT path FROM artifacts WHERE stage = 'a'")[0]
    assert (Path(path) / "value").is_file()


def test_forecasts_of_all_experiments(store: Path) -> None:
    results = {"forecast": 1.0, "low": 0.9, "high": 1.1, "loss": 1.05, "error": 0.05, "within": True, "beyond": 9.0}
    folder = store / "artifacts" / "forecast_score" / RUN
    folder.mkdir(parents=True)
    (plain,) = (store / "artifacts" / "a").glob("*/manifest.json")
    stats = {**results, "made": "2026-11-30T01:00:00+00:00"}
    manifest = {**json.loads(plain.read_text()), "kind": "forecast_score", "identity": RUN, "stats": stats}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = rows(store, "SELECT forecast, low, high, loss, error, within, beyond FROM forecasts")
    assert found == [tuple(results.values())]
    assert rows(store, "SELECT made > '2026-11-30'::TIMESTAMPTZ FROM forecasts") == [(True,)]


def test_a_run_that_trains_now_is_seen_without_its_torn_last_line(store: Path) -> None:
    assert rows(store, "SELECT step, loss, unfinished FROM steps ORDER BY step") == [(1, 3.0, True), (2, 2.0, True)]
    assert rows(store, "SELECT stage, steps, loss, seconds FROM runs") == [("pretrained_model", 2, 2.0, 2.0)]


def finished_run(root: Path, content: str, recorded: str) -> None:
    """A committed run whose manifest knows ``recorded`` as its metrics, while the file holds ``content``."""
    folder = root / "artifacts" / "training_run" / RUN
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(content)
    (made,) = (root / "artifacts" / "a").iterdir()
    manifest = read_manifest(made)
    assert manifest is not None
    digest = xxh3_128_hexdigest(recorded.encode())
    metrics = FileRecord(path="metrics.jsonl", size=len(recorded), xxh3=digest, volatile=True)
    changes = {"kind": "training_run", "stage": "pretrained_model", "identity": RUN, "files": [metrics]}
    (folder / "manifest.json").write_text(manifest.model_copy(update=changes).sealed().model_dump_json())


def test_damaged_metrics_of_a_finished_run_are_left_out(store: Path) -> None:
    shutil.rmtree(store / "work" / "training_run")
    whole = json.dumps({"step": 1, "loss": 2.5, "seconds": 1.0, "time": 1e9, "skipped": False}) + "\n"
    finished_run(store, whole, whole)
    assert rows(store, "SELECT step, loss, unfinished FROM steps") == [(1, 2.5, False)]
    path = store / "artifacts" / "training_run" / RUN / "metrics.jsonl"
    path.write_text(whole.replace("2.5", "2.4"))
    assert rows(store, "FROM steps") == []
    assert rows(store, "FROM runs") == []
    assert list(damaged_metrics(store)) == [RUN]


def test_why_a_step_was_skipped_is_asked_as_its_other_figures(store: Path) -> None:
    line = {"step": 3, "loss": None, "skipped": True, "reason": "the loss is a spike", "memory": 1 << 33, "mfu": 0.5}
    path = store / "work" / "training_run" / RUN / "metrics.jsonl"
    path.write_text(path.read_text().rpartition("\n")[0] + "\n" + json.dumps({**line, "batch": "ab12"}) + "\n")
    validated = {"validation_loss": 2.0, "validation_bits_per_byte": 0.75}
    with path.open("a") as file:
        file.write(json.dumps({"step": 4, "loss": 2.0, "skipped": False, **validated}) + "\n")
    asked = "validation_loss, validation_bits_per_byte"
    assert rows(store, f"SELECT {asked} FROM steps WHERE step = 4") == [(2.0, 0.75)]
    assert rows(store, f"SELECT {asked} FROM runs") == [(2.0, 0.75)]
    columns = "step, reason, memory, mfu, batch"
    assert rows(store, f"SELECT {columns} FROM steps WHERE skipped") == [(3, line["reason"], 1 << 33, 0.5, "ab12")]


def test_windows_and_items_are_rows_of_what_exists(store: Path) -> None:
    item = item_line({"task": "zorro", "right": 1.0, "choice_bits": [30.5, 31.0]}, "7", "agreement", 2, 0, 20)
    finished_run(store, "", "")
    run = store / "artifacts" / "training_run" / RUN
    foreign = store / "artifacts" / "eval_results" / ("0" * 32)
    foreign.mkdir(parents=True)
    reader = SimpleNamespace(offsets=np.array([0, 60, 200]))
    write_windows(run / WINDOWS, reader, np.array([64]), 32, np.array([32]), np.array([[70.5], [70.25], [90.0]]), True)
    (foreign / "scores.jsonl").write_text(json.dumps(item) + "\n")
    assert rows(store, "FROM validation_windows") == [(RUN, 0, 64, 32, 70.5, 70.25, 90, 1)]
    assert rows(store, "FROM items") == [], "a folder without a manifest is no artifact"
    manifest = json.loads((run / "manifest.json").read_text())
    manifest |= {"kind": "eval_results", "stage": "eval_results", "identity": "0" * 32}
    (foreign / "manifest.json").write_text(json.dumps(manifest))
    columns = ", ".join(item)
    assert rows(store, f"SELECT identity, {columns} FROM items") == [("0" * 32, *item.values())]
    assert rows(store, "SELECT correct_per_byte FROM items") == [(None,)]


def test_a_damaged_file_spoils_only_what_is_in_it(store: Path) -> None:
    (store / "work" / "training_run" / RUN / "stage.json").write_text('{"kind": "tr')
    next(store.glob("artifacts/a/*/manifest.json")).chmod(0o644)
    next(store.glob("artifacts/a/*/manifest.json")).write_text("{")
    dropped = store / "artifacts" / "a" / ("0" * 32) / "dropped"
    dropped.mkdir(parents=True)
    (dropped / "00000.parquet").write_bytes(b"PAR1")
    assert rows(store, "SELECT stage FROM artifacts") == [("b",)]
    assert rows(store, "SELECT steps FROM runs") == [(2,)]
    with pytest.raises(duckdb.Error, match=r"00000\.parquet"):
        rows(store, "FROM drops")


def test_many_may_refresh_the_database_at_once(store: Path) -> None:
    database = store.parent / "pedigree.duckdb"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: write_views(store, database), range(16)))
    with duckdb.connect(str(database), read_only=True) as connection:
        assert connection.sql("SELECT count(*) FROM artifacts").fetchall() == [(2,)]
    assert [path.name for path in store.parent.iterdir() if path.is_file()] == ["pedigree.duckdb"]


def test_the_database_moves_and_is_copied_with_the_store(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_views(store, store.parent / "pedigree.duckdb")
    moved = store.parent.rename(tmp_path / "b [c]* 'elsewhere'")
    copied = shutil.copytree(moved, tmp_path / "copy")
    shutil.rmtree(moved / "store" / "work")

    def told(database: Path | str, sql: str) -> list[tuple]:
        with duckdb.connect(str(database), read_only=True) as connection:
            return connection.sql(sql).fetchall()

    both = [(moved / "store", moved / "pedigree.duckdb"), (copied / "store", copied / "pedigree.duckdb")]
    for root, database in both:
        paths = told(database, "SELECT path FROM artifacts")
        assert len(paths) == 2
        assert all(Path(path).is_relative_to(root) for (path,) in paths)
    assert told(copied / "pedigree.duckdb", "SELECT stage, steps FROM runs") == [("pretrained_model", 2)]
    monkeypatch.chdir(copied)
    assert told("pedigree.duckdb", "SELECT count(*) FROM artifacts") == [(2,)]
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as connection:  # attached to another database, it has to be told
        connection.execute(f"ATTACH '{copied / 'pedigree.duckdb'}' AS p (READ_ONLY)")
        connection.execute(f"SET VARIABLE pedigree_home = '{copied}'")
        assert connection.sql("SELECT count(*) FROM p.artifacts").fetchall() == [(2,)]
