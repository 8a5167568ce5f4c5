"""Tuning through the graph: from files of conversations to a model, behind the mask gate."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.chat.stages import lines, talks
from tests.pipelines.conftest import World, copy_of

CHAT = """\
chat:
  sources: [{name: talks, paths: [PLACE/talks.jsonl], messages: messages}]
  heldout_share: 0.2
  training: {sequence_length: 96, batch_tokens: 192, tokens: 960, precision: fp32, optimizer: {lr: 1e-3}}
"""


@pytest.fixture
def world(finished: World, tmp_path: Path) -> World:
    """A finished world whose experiment also tunes, in this process."""
    made = copy_of(finished, tmp_path / "world")
    lines(made.folder / "talks.jsonl", talks(60))
    made.edit("compute: {checkpoint_every", "compute: {target: in_process, checkpoint_every")
    made.experiment.write_text(made.experiment.read_text() + CHAT.replace("PLACE", str(made.folder)))
    return made


def test_a_model_is_tuned_and_its_steps_lead_to_conversations(world: World) -> None:
    path = str(world.experiment)
    world.pedigree("run", path, "--select", "chat_model")
    assert {world.plan()[stage]["verdict"] for stage in ("pretrained_model", "chat_shards", "chat_model")} == {"hit"}
    rows = json.loads(world.pedigree("why", "chat_model", "2", "-e", path, "--json"))
    assert {row["source"] for row in rows} == {"talks"}
    assert all(0 < row["targets"] < row["tokens"] for row in rows)
    place = f"talks/talks.jsonl:{rows[0]['row']}"
    found = json.loads(world.pedigree("why", "-d", place, "-e", path, "--json"))
    stages = [(station["stage"], station["verdict"]) for station in found["stations"]]
    assert stages == [("chat_conversations", "kept"), ("chat_shards", "train"), ("chat_model", "trained on")]
    assert "2" in found["stations"][-1]["facts"]["steps"].split(", ")
    world.pedigree("export", path, str(world.folder / "hub"), "--stage", "chat_model")
    assert (world.folder / "hub" / "chat_template.jinja").is_file()


def test_a_wrong_mask_stops_the_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    save = np.save
    monkeypatch.setattr(np, "save", lambda path, array: save(path, np.roll(array, 1) if array.dtype == bool else array))
    asked = world.asked("run", str(world.experiment), "--select", "chat_model")
    assert asked.exit_code != 0
    assert "gate chat_mask_gate is closed: check targets_are_answers failed" in asked.stderr + asked.stdout
    assert world.plan()["chat_model"]["verdict"] == "blocked"
