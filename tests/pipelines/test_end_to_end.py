"""The whole graph through Dagster, on made text: what a user does, in the order in which a user does it."""

import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.pipelines.conftest import World, copy_of, document, make_world


def test_everything_was_made(finished: World) -> None:
    rows = json.loads(finished.pedigree("query", "FROM artifacts", "--json"))
    assert not list((finished.folder / "home" / "store" / "work").glob("*/*"))  # all that stages leave there is known
    assert {row["stage"] for row in rows} >= {"raw_documents", "token_shards", "pretrained_model", "training_report"}
    told, study, report = map(Path, finished.pedigree("report", str(finished.experiment)).splitlines())
    assert told.name == "data_report.html"
    assert study.name == "study.html"
    assert "Funnel" in told.read_text(encoding="utf-8")
    assert report.name == "report.html"
    assert "micro" in report.read_text()
    (run,) = (Path(row["path"]) for row in rows if row["stage"] == "pretrained_model")
    first, *_ = map(json.loads, (run / "samples.jsonl").read_text().splitlines())
    assert first["samples"][0]["text"]
    assert len((run / "gradients.jsonl").read_text().splitlines()) == 20  # of the plug-in's callback


def test_the_model_goes_to_hugging_face_and_back(finished: World, tmp_path: Path) -> None:
    hub, back = tmp_path / "hub", tmp_path / "back"
    assert "LlamaForCausalLM, fp32" in finished.pedigree("export", str(finished.experiment), str(hub))
    assert "1 layers" in finished.pedigree("import-model", str(hub), str(back))
    (made,) = (path for path in (finished.folder / "home" / "store" / "artifacts" / "hf_export").iterdir())
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (hub / name).read_bytes() == (made / name).read_bytes()
    query = "SELECT path FROM artifacts WHERE stage = 'pretrained_model'"
    run = Path(json.loads(finished.pedigree("query", query, "--json"))[0]["path"])
    assert (back / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    _, front, card = (hub / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "text-generation"
    assert "| files | files | not recorded |" in card  # its source has no licence
    assert "write to team@example.org" in card
    assert "| held-out text, this model | bits per byte |" in card
    assert "not recorded: the power of this device is not known" in card
    assert "## Text for this model" in card  # what the tokenizer says
    again = finished.asked("export", str(finished.experiment), str(hub))
    assert again.exit_code == 1
    assert "exists and is not empty" in again.stderr


def test_the_model_goes_to_llama_cpp(finished: World, tmp_path: Path) -> None:
    out = tmp_path / "gguf"
    told = finished.pedigree("export", str(finished.experiment), str(out), "--format", "gguf", "--dtype", "f32")
    assert "llama, micro-pretrained_model-f32.gguf: " in told
    assert "llama.cpp does not bring texts into the form of the training documents" in told
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "micro-pretrained_model-f32.gguf"]
    for wrong, message in (
        (("--format", "gguf", "--dtype", "fp32"), "--dtype fp32: known: f16, q8_0, f32"),
        (("--format", "safetensors"), "--format safetensors: known: hf, gguf, onnx"),
    ):
        asked = finished.asked("export", str(finished.experiment), str(tmp_path / "other"), *wrong)
        assert message in asked.stderr


def test_the_second_run_makes_nothing(finished: World) -> None:
    assert {record["verdict"] for record in finished.plan().values()} == {"hit"}
    before = json.loads(finished.pedigree("query", "SELECT identity, started FROM artifacts", "--json"))
    done = finished.materialized()
    assert done.exit_code == 0, done.output
    assert json.loads(finished.pedigree("query", "SELECT identity, started FROM artifacts", "--json")) == before


def test_a_launch_runs_what_dagster_was_not_told_of(finished: World, tmp_path: Path) -> None:
    pytest.importorskip("dagster_dg_cli")
    world = copy_of(finished, tmp_path)

    done = world.run("pipelines.cli", "launch", str(world.experiment))
    assert done.returncode == 0, done.stderr
    assert " hit (reused)" in done.stdout
    assert "run (to be made)" not in done.stdout
    assert "hit tokenizer" in done.stderr
    assert "report.html" in done.stdout
    assert "Warning" not in done.stderr
    out = world.pedigree("launch", str(world.experiment))
    assert "there is nothing to run" in out
    assert "report.html" in out
    asked = world.asked("launch", str(world.experiment), "--select", "micro/nothing")
    assert asked.exit_code == 1
    assert "Dagster can't launch 'micro/nothing': " in asked.stderr
    assert "Traceback" not in asked.stderr
    world.edit("checks: {", "checks: {max_drop_share: 0.0, ")
    world.edit("min_words: {min: 5}", "min_words: {min: 120}")
    asked = world.asked("launch", str(world.experiment), "--select", '+key:"micro/unique_documents"')
    assert asked.exit_code == 1
    assert "clean_documents: to be made (cleaning.rules.min_words.min: 5.0 → 120.0)" in asked.stderr
    assert "drop_share" in asked.stderr
    assert "The lines above say what failed, and why" in asked.stderr


def test_equal_runs_are_one_artifact(finished: World) -> None:
    plan = finished.plan()
    assert plan["idea_runs/qk_norm/width_16"]["identity"] == plan["idea_runs/the_same/width_16"]["identity"]


def test_a_step_leads_back_to_its_source_rows(finished: World) -> None:
    rows = json.loads(finished.pedigree("why", "pretrained_model", "3", "-e", str(finished.experiment), "--json"))
    assert {row["sequence"] for row in rows} == {0, 1, 2, 3}
    assert sum(row["tokens"] for row in rows) == 128
    for row in rows:
        part = int(Path(row["origin"]).stem)
        lines = (finished.folder / "sources" / f"{part}.jsonl").read_text().splitlines()
        assert json.loads(lines[row["row"]])["text"] == document(part * 60 + row["row"])


def test_a_document_is_followed_from_its_row_to_its_tokens_and_back(finished: World) -> None:
    def told(document: str) -> dict:
        return json.loads(finished.pedigree("why", "-d", document, "-e", str(finished.experiment), "--json"))

    story = told("files/1.jsonl:7")
    assert (story["source"], story["origin"], story["row"]) == ("files", "1.jsonl", 7)
    assert [station["verdict"] for station in story["stations"][:4]] == ["read", "kept", "kept", "kept"]
    seen = [station for station in story["stations"] if station["stage"] == "token_shards"]
    assert seen[0]["facts"]["decodes to its text"] is True
    split = story["stations"][4]["verdict"]
    start, tokens = seen[0]["facts"]["stream_start"], seen[0]["facts"]["tokens"]
    for token in (start, start + tokens - 1):
        assert told(f"{split}@{token}") == story
    assert told(f"{split}@{start + tokens}")["doc_id"] != story["doc_id"]
    assert told(story["doc_id"][:12]) == story
    if split == "train":
        runs = {station["stage"]: station["facts"] for station in story["stations"][6:]}
        assert runs.keys() >= {"pretrained_model", "scaling_runs/width_16_trunk_3"}
        assert len(runs) == 4  # the two ideas are one artifact, with the name of the one that came first
        step = int(runs["pretrained_model"]["steps"].split(", ")[0])
        rows = json.loads(
            finished.pedigree("why", "pretrained_model", str(step), "-e", str(finished.experiment), "--json")
        )
        assert story["doc_id"] in {row["doc_id"] for row in rows}


def test_a_score_leads_back_to_the_sources(finished: World) -> None:
    told = json.loads(finished.pedigree("why", "heldout/bits_per_byte", "-e", str(finished.experiment), "--json"))
    assert told["scores"][0]["value"] > 0
    kinds, pending = {}, [told["lineage"]]
    while pending:
        item = pending.pop()
        kinds[item["kind"]] = item
        pending.extend(item["inputs"])
    assert {"eval_results", "training_run", "token_shards", "tokenizer", "raw_documents"} <= kinds.keys()
    assert set(kinds["raw_documents"]["source_digests"]) == {"files/0.jsonl", "files/1.jsonl"}
    assert "raw_documents" in finished.pedigree("why", "heldout/bits_per_byte", "-e", str(finished.experiment))


def test_errors_are_for_people(finished: World) -> None:
    for arguments, message in (
        (("why", "nonsense", "-e", str(finished.experiment)), "known scores: "),
        (("why", "tokenizer", "1", "-e", str(finished.experiment)), "is not a training run"),
        (("why", "pretrained_model", "99", "-e", str(finished.experiment)), "has the steps 1 to 20"),
        (("query", "SELEC 1"), "DuckDB: "),
        (("funnel", str(finished.experiment), "--source", "x"), "micro has no source 'x'; known: files"),
        (("plan", "nowhere"), "there is no experiment 'nowhere'"),
        (("run", "tiny", "--select", "nothing"), "has no stage 'nothing'"),
        (("accept", "tokenizer", "--why", "x", "-e", str(finished.experiment)), "a hit already"),
    ):
        done = finished.asked(*arguments)
        assert done.exit_code == 1
        assert message in done.stderr


def test_a_threshold_that_drops_nothing_more_makes_cleaning_and_its_report_again(
    finished: World, tmp_path: Path
) -> None:
    world = copy_of(finished, tmp_path)
    world.edit("min_words: {min: 5}", "min_words: {min: 6}")
    plan = world.plan()
    assert plan["clean_documents"]["reasons"] == ["cleaning.rules.min_words.min: 5.0 → 6.0"]
    assert plan["token_shards"]["verdict"] == "maybe"
    world.pedigree("run", str(world.experiment))
    made = json.loads(world.pedigree("query", "SELECT stage, count(*) AS n FROM artifacts GROUP BY stage", "--json"))
    again = {row["stage"] for row in made if row["n"] > 1}
    assert again == {"clean_documents", "data_report"}, "the report shows the bound"


def test_a_repeated_document_makes_nothing_after_deduplication_again(finished: World, tmp_path: Path) -> None:
    world = copy_of(finished, tmp_path)
    with (world.folder / "sources" / "1.jsonl").open("a") as file:
        file.write(json.dumps({"text": document(7)}) + "\n")
    assert world.plan()["raw_documents"]["reasons"] == ["source files/1.jsonl changed"]
    world.pedigree("run", str(world.experiment), "--select", "unique_documents")
    made = json.loads(world.pedigree("query", "SELECT stage, count(*) AS n FROM artifacts GROUP BY stage", "--json"))
    assert {row["stage"] for row in made if row["n"] > 1} == {"raw_documents", "clean_documents", "unique_documents"}


def test_a_run_from_a_bare_machine_stands_where_the_graphs_stood(finished: World, tmp_path: Path) -> None:
    world, away = copy_of(finished, tmp_path / "world"), tmp_path / "away"
    name = str(world.experiment)
    written = world.pedigree("preflight", name, "--write", str(away), "--include-data")
    assert "./run.sh" in written
    environment = {**world.environment, "PYTHON": sys.executable}
    trained = subprocess.run(
        ["bash", str(away / "run.sh")], env=environment, capture_output=True, text=True, timeout=300
    )
    assert trained.returncode == 0, trained.stderr
    told = world.pedigree("adopt", str(away / "run"), "-e", name)
    assert "is already in the store, with equal weights: nothing is copied" in told
    query = "SELECT identity, content, path FROM artifacts WHERE stage = 'pretrained_model'"
    (made,) = json.loads(world.pedigree("query", query, "--json"))
    shutil.rmtree(made["path"])
    assert "adopted pretrained_model" in world.pedigree("adopt", str(away / "run"), "-e", name)
    (adopted,) = json.loads(world.pedigree("query", query, "--json"))
    assert adopted == made
    assert {record["verdict"] for record in world.plan().values()} == {"hit"}
    assert json.loads(world.pedigree("why", "pretrained_model", "3", "-e", name, "--json"))
    away_from_name = world.asked("adopt", str(away / "run"))
    assert "Give the YAML file of micro with --experiment" in away_from_name.stderr


def test_a_gate_that_failed_blocks_in_a_later_run_of_a_part(finished: World, tmp_path: Path) -> None:
    world = copy_of(finished, tmp_path)
    world.edit("checks: {", "checks: {max_drop_share: 0.0, ")
    world.edit("min_words: {min: 5}", "min_words: {min: 120}")
    first = world.asked("run", str(world.experiment), "--select", "clean_documents")
    assert "drop_share" in first.output
    later = world.materialized("micro/unique_documents")
    assert later.exit_code != 0
    assert "a blocking check fails" in later.stderr
    assert world.plan()["training_report"]["verdict"] == "blocked"


def test_a_part_without_its_inputs_says_what_to_select(tmp_path: Path) -> None:
    done = make_world(tmp_path).materialized("micro/tokenizer")
    assert done.exit_code != 0
    assert '+key:"micro/tokenizer"' in done.stderr


def test_live_loss_is_observed(finished: World) -> None:
    import sqlite3

    found = 0
    for path in (finished.folder / "home" / "dagster").rglob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            if "event_logs" in tables:
                rows = connection.execute(
                    "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_OBSERVATION' "
                    "AND asset_key LIKE '%pretrained_model%'"  # the run that has a process of its own
                )
                found += rows.fetchone()[0]
    assert found


def test_what_is_damaged_is_named(finished: World, tmp_path: Path) -> None:
    world = copy_of(finished, tmp_path)
    (weights,) = world.folder.glob(
        f"home/store/artifacts/training_run/{world.plan()['pretrained_model']['identity']}/model.json"
    )
    for path in (weights, next(world.folder.glob("home/store/artifacts/raw_documents/*/parts/*"))):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes() + b" ")
    done = world.asked("verify", str(world.experiment))
    assert done.exit_code == 1
    assert "2 damaged; the next run makes them again" in done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("damaged")] == ["raw_documents", "pretrained_model"]
    assert any(line.split() == ["whole", "training_report"] for line in lines), "what follows is read, too"
