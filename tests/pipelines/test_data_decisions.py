"""Ideas that change the data, through the whole graph at toy width."""

import json
from pathlib import Path

import pytest

from llm_core.train.validation_windows import WINDOWS
from tests.pipelines.conftest import World, make_world

STUDY = """study:
  sizes: [{width: 16, ideas: true}]
  tokens: [512]
  ideas:
    plain: {data: {cleaning: {uncased: true}, tokenizer: {vocab_size: 300}}}
  gate: null
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("data"))
    before, _, after = made.experiment.read_text().partition("study:\n")
    text = before.replace("schedule: half", "schedule: {kind: wsd, warmup_steps: 0, cooldown_steps: 1}")
    text += STUDY + after[after.index("evaluation:") :]
    text = text.replace("validation_tokens: 512", "validation_tokens: 50_000")
    made.experiment.write_text(text.replace("compute: {", "compute: {target: in_process, "))
    return made


def test_every_side_is_judged_on_the_launched_text(world: World) -> None:
    done = world.asked("run", str(world.experiment), "--select", "ablation_report")
    assert done.exit_code == 0, done.output
    query = "SELECT stage, path FROM artifacts"
    paths = {row["stage"]: Path(row["path"]) for row in json.loads(world.pedigree("query", query, "--json"))}

    def windows(stage: str) -> list[dict[str, int]]:
        return [json.loads(line) for line in (paths[stage] / WINDOWS).read_text().splitlines()]

    launched, plain = windows("scaling_runs/width_16_steps_4"), windows("idea_runs/plain/width_16")
    # All of the text, as it was launched, but for the rest that fills no window.
    assert sum(window["bytes"] for window in plain) == pytest.approx(sum(w["bytes"] for w in launched), rel=0.02)
    assert len(plain) > 2 * len(launched)
