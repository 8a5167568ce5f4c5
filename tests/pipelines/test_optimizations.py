"""The optimisation table of the micro experiment: pairs of real trainings, made once."""

import json
from pathlib import Path

from assets.release import PAGES
from tests.pipelines.conftest import World, copy_of

SECTION = "optimizations: {rows: [accumulation, attention_flex, qk_norm], steps: 8, rounds: 3}\nevaluation:"


def test_each_row_is_measured_once(finished: World, tmp_path: Path) -> None:
    world = copy_of(finished, tmp_path)
    world.edit("compute: {checkpoint_every", "compute: {target: in_process, checkpoint_every")
    world.edit("evaluation:", SECTION)
    table = "optimization_table"
    done = world.asked("run", str(world.experiment), "--select", table)
    assert done.exit_code == 0, done.output
    (stats,) = json.loads(world.pedigree("query", f"SELECT stats FROM artifacts WHERE stage = '{table}'", "--json"))
    found = stats["stats"] if isinstance(stats["stats"], dict) else json.loads(stats["stats"])
    rows = {row["name"]: row for row in found["rows"]}
    clocks = {row["name"]: row for row in found["clocks"]}
    assert rows["attention_flex"]["left_out"] == "needs an NVIDIA GPU"
    assert rows["accumulation"]["deviation"] <= rows["accumulation"]["tolerance"]
    assert rows["accumulation"]["before"] == rows["accumulation"]["after"] or rows["accumulation"]["deviation"] > 0
    assert rows["qk_norm"]["deviation"] is None
    assert rows["qk_norm"]["before"] != rows["qk_norm"]["after"]
    assert clocks["qk_norm"]["after"]["parameters"] > clocks["qk_norm"]["before"]["parameters"]
    assert clocks["accumulation"]["speed"]["low"] < clocks["accumulation"]["speed"]["high"]
    (page,) = world.folder.glob(f"home/store/**/{PAGES[table]}")
    assert "Gradient accumulation" in page.read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")

    # Another row measures only that one.
    world.edit("qk_norm]", "qk_norm, z_loss]")
    verdicts = {name: item["verdict"] for name, item in world.plan().items() if name.startswith("optimization")}
    assert {name for name, verdict in verdicts.items() if verdict == "hit"} == {
        "optimizations/accumulation", "optimizations/attention_flex", "optimizations/qk_norm",
    }  # fmt: skip
    assert verdicts["optimizations/z_loss"] == "run"
