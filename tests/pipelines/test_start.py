"""Experiments that start from a finished model of the store, or from an exported folder."""

from pathlib import Path

import pytest
import yaml

from llm_core.errors import PedigreeError
from llm_core.graph.execute import materialize
from llm_core.graph.job import Runtime
from llm_core.store.manifest import Artifact
from llm_core.store.store import Store
from pipelines.session import open_session
from tests.chat.stages import lines, talks
from tests.pipelines.conftest import World, copy_of
from tests.pipelines.test_tuning import CHAT

LEFT_OUT = {"model": None, "tokenizer": None, "study": None}


@pytest.fixture
def world(finished: World, tmp_path: Path) -> World:
    made = copy_of(finished, tmp_path / "world")
    made.edit("compute: {checkpoint_every", "compute: {target: in_process, checkpoint_every")
    return made


def write(world: World, name: str, **sections: object) -> str:
    path = world.folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"extends": "micro", **LEFT_OUT, **sections}))
    return str(path)


def last(world: World, experiment: str, stage: str, kind: str = "training_run") -> Artifact:
    artifact, _ = Store(world.folder / "home" / "store").last(experiment, kind, stage)
    assert artifact is not None
    return artifact


def test_a_run_goes_on_where_another_ended(world: World) -> None:
    path = write(world, "further", start={"artifact": "micro/pretrained_model"})
    world.pedigree("run", path, "--select", "pretrained_model")
    before, after = (last(world, name, "pretrained_model") for name in ("micro", "further"))
    assert after.stats["start_validation_loss"] == before.stats["final_validation_loss"]
    imported = last(world, "further", "imported_model", "imported_model")
    files = {record.path: record.xxh3 for record in before.manifest.files}
    assert imported.manifest.source_digests["model.safetensors"] == files["model.safetensors"]
    lineage = world.pedigree("why", "pretrained_model", "-e", path)
    assert "from: experiment micro, stage pretrained_model" in " ".join(lineage.split())


def test_an_exported_folder_is_tuned_and_goes_on_from_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEDIGREE_HOME", str(world.folder / "home"))
    lines(world.folder / "talks.jsonl", talks(60))
    world.pedigree("export", str(world.experiment), str(world.folder / "hub"))
    chat = yaml.safe_load(CHAT.replace("PLACE", str(world.folder)))
    tuned = write(world, "tuned", start={"folder": "hub"}, training=None, **chat)
    planner = open_session(tuned).planner()
    before = planner.look("imported_model")[-1].identity
    config = world.folder / "hub" / "config.json"
    config.write_text(config.read_text() + "\n")
    with pytest.raises(PedigreeError, match="imported_model: its sources changed while they were read"):
        materialize(planner, "imported_model", Runtime())
    world.pedigree("run", tuned, "--select", "chat_model")
    assert last(world, "tuned", "imported_model", "imported_model").manifest.identity != before
    assert last(world, "tuned", "chat_model").stats["start_validation_loss"] is not None
    chat["chat"]["template"] = "{{ messages }}"
    again = write(world, "again", start={"artifact": "tuned/chat_model"}, training=None, **chat)
    with pytest.raises(PedigreeError, match="was tuned with another chat template than that of this experiment"):
        open_session(again).planner().look("imported_model")
