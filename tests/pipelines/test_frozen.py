"""A frozen tokenizer while the corpus grows: twenty source files, and one more."""

import json
from pathlib import Path

import pytest

from llm_core.graph.execute import Outcome, materialize
from llm_core.graph.job import Runtime
from llm_core.tokens.reader import ShardReader
from pipelines.session import Session, open_session
from tests.pipelines.conftest import World, document, make_world

FILES, DOCUMENTS = 20, 12


def write(sources: Path, number: int) -> None:
    lines = [json.dumps({"text": document(1000 + number * DOCUMENTS + place)}) for place in range(DOCUMENTS)]
    (sources / f"{number:02}.jsonl").write_text("\n".join(lines) + "\n")


def opened(world: World) -> Session:
    return open_session(str(world.experiment))


def run(session: Session) -> dict[str, Outcome]:
    """All stages that shards are made from, and the shards."""
    names = [*session.graph.upstream("token_shards"), "token_shards"]
    runtime = Runtime(compute=session.experiment.compute)
    return {name: materialize(session.planner(), name, runtime) for name in names}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = make_world(tmp_path)
    for name in ("PEDIGREE_HOME", "PEDIGREE_LOCKS", "TMPDIR"):
        monkeypatch.setenv(name, made.environment[name])
    for old in (tmp_path / "sources").iterdir():
        old.unlink()
    for number in range(FILES):
        write(tmp_path / "sources", number)
    made.edit("tokenizer: {vocab_size: 400}", "tokenizer: {vocab_size: 400, freeze: true}")
    return made


def made_parts(outcome: Outcome) -> int:
    return int(outcome.artifact.stats["parts_made"]) if outcome.cache == "made" else 0


def test_one_more_file_makes_its_own_parts_alone(world: World) -> None:
    first = run(opened(world))
    assert made_parts(first["token_shards"]) == 2 * FILES
    write(world.folder / "sources", FILES)
    session = opened(world)
    planned = {item.stage: item for item in session.planner().plan({"token_shards"})}
    assert planned["tokenizer"].verdict == "hit"
    then = first["pretraining_documents"].artifact.manifest.identity
    assert planned["tokenizer"].notes[0].startswith(f"frozen: trained on pretraining_documents {then[:12]} (")
    second = run(session)
    assert second["tokenizer"].artifact.path == first["tokenizer"].artifact.path
    of_one_file = {
        "raw_documents": 1,
        "clean_documents": 1,
        "unique_documents": 2,
        "decontaminated_documents": 1,
        "pretraining_documents": 2,
        "token_shards": 2,
    }
    assert {name: made_parts(outcome) for name, outcome in second.items()} == {**of_one_file, "tokenizer": 0}
    for name, count in of_one_file.items():
        assert made_parts(first[name]) == second[name].artifact.stats["parts_found"] == count * FILES, name
    before, now = (outcome["token_shards"].artifact.stats for outcome in (first, second))
    assert now["documents"] > before["documents"]
    assert now["vocab_size"] == before["vocab_size"]
    shards = second["token_shards"].artifact.path
    assert ShardReader(shards, "train").tokens == now["train_tokens"]
    recorded = {record.role: record for record in second["token_shards"].artifact.manifest.inputs}
    assert recorded["tokenizer"].identity == first["tokenizer"].artifact.manifest.identity
    assert second["tokenizer"].artifact.manifest.inputs[0].identity == then, "what it was trained on stays recorded"
    assert {outcome.cache for outcome in run(opened(world)).values()} == {"hit"}
