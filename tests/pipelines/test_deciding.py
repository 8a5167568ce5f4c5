"""More seeds for undecided ideas, through the whole graph at toy width."""

from pathlib import Path

import pytest

from llm_core.experiment.study import StudySize
from pipelines.deciding import further, with_seeds
from tests.pipelines.conftest import World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("deciding"))
    text = made.experiment.read_text().replace("schedule: half", "schedule: {kind: wsd, warmup_steps: 0}")
    made.experiment.write_text(text)
    return made


def test_undecided_ideas_get_more_seeds_and_the_rest_is_not_trained_again(world: World, tmp_path: Path) -> None:
    experiment = str(world.experiment)
    refused = world.asked("decide", experiment)
    assert refused.exit_code == 1
    assert "study.sizes: width 16: one seed shows no noise between seeds; give it seeds: 2" in refused.output

    world.edit("{width: 16, ideas: true}", "{width: 16, ideas: true, seeds: 2}")
    # Runs of four steps differ by far more than this, and the ideas help by far less than their noise.
    world.edit("gate: null", "gate: null\n  margin: 1.0e-9")
    done = world.asked("decide", experiment, "--most-seeds", "3")
    assert done.exit_code == 0, done.output
    assert "width 16: qk_norm is undecided: 3 seeds" in done.output
    assert done.output.count("hit ablation_report") == 0
    assert done.output.count("made idea_runs/qk_norm/width_16") == 3  # the first look trained two of them
    assert done.output.count("made compared_runs/width_16_seed_3") == 1
    told = "  looks: 2\n  sizes:\n    - {width: 16, seeds: 2, idea_seeds: {qk_norm: 3, the_same: 3}, …}"
    assert told in done.output

    world.edit("seeds: 2}", "seeds: 2, idea_seeds: {qk_norm: 3, the_same: 3}}")
    world.edit("margin: 1.0e-9", "margin: 1.0e-9\n  looks: 2")
    assert world.plan()["ablation_report"]["verdict"] == "hit"


def test_only_what_is_undecided_gets_twice_its_seeds_up_to_the_bound() -> None:
    sizes = [StudySize(width=16, seeds=2, ideas=True), StudySize(width=32, seeds=2, ideas=True, idea_seeds={"a": 4})]
    rows = [
        {"width": 16, "idea": "a", "verdict": "better"},
        {"width": 16, "idea": "b", "verdict": "undecided"},
        {"width": 32, "idea": "a", "verdict": "undecided"},
    ]
    assert further(sizes, rows, 6) == {(16, "b"): 4, (32, "a"): 6}
    assert further(with_seeds(sizes, further(sizes, rows, 6)), rows, 6) == {(16, "b"): 6}
    assert further(sizes, rows, 2) == {}
