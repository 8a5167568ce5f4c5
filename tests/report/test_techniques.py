"""The table of techniques: what is decided has a colour, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llm_core.graph.job import Job
from llm_core.optimizations.results import Measured, OptimizationTable
from llm_core.report import optimization_table
from llm_core.report.blocks import Cell, Section, Table, Text
from llm_core.report.optimization_table import PAGE, ROWS
from llm_core.report.sections.techniques import techniques
from llm_core.store.manifest import Artifact
from tests.report.conftest import artifact, job_of

JITTER = (0.995, 1.0, 1.005)
TOKENS = 16_384


def measured(speed: float = 1.0, memory: float = 1.0, loss: float = 1.0, **fields: Any) -> Measured:
    """A technique that multiplies speed, memory and loss, over three rounds with half a percent of noise."""

    def clocks(speed: float, memory: float) -> list[dict[str, float]]:
        return [
            {
                "tokens_per_second": 8000 * speed * one,
                "memory": 3e8 * memory * one,
                "first_seconds": 1.0,
                "parameters": 1,
            }
            for one in JITTER
        ]

    return Measured(
        **{
            "left_out": "", "seeds": [1, 2, 3], "deviation": None, "tolerance": 1e-4, "device": "CPU (x86_64)",
            "before": [2.0, 2.01, 1.99], "after": [2.0 * loss, 2.01 * loss, 1.992 * loss],
            "clocks": {"before": clocks(1, 1), "after": clocks(speed, memory)}, **fields,
        }
    )  # fmt: skip


STORY = {
    "checkpointing_full": measured(speed=0.75, memory=0.6, deviation=1e-7),
    "chunked_loss": measured(memory=0.8, deviation=3e-2),
    "gqa": measured(speed=1.1, memory=0.999, loss=1.03),
    "rope": measured(loss=0.95),
    "muon": measured(speed=0.8, loss=0.9),
    "attention_flex": measured(
        left_out="needs an NVIDIA GPU", seeds=[], before=[], after=[], clocks={"before": [], "after": []}, device=""
    ),
}
CONFIG: dict[str, Any] = {
    "title": "planted",
    "names": [*STORY, "mla"],
    "unfit": {"mla": "the recipe's mixer is liv, and this is about attention"},
    "in_recipe": {"gqa": "after", "muon": "before"},
    "tokens": TOKENS,
    "margin": 0.03,
    "loss_margin": 0.002,
}


def job(folder: Path) -> Job:
    made: dict[str, Artifact | None] = {
        name: artifact(folder / name, f"optimizations/{name}", found.model_dump()) for name, found in STORY.items()
    }
    return job_of(made, folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[OptimizationTable, Path]:
    asked = job(tmp_path_factory.mktemp("techniques"))
    return optimization_table.build(asked, **CONFIG), asked.out


def section(table: OptimizationTable) -> tuple[dict[str, list[Cell]], str]:
    found: Section = techniques(table, TOKENS, 0.03, 0.002)
    (grid,) = [block for block in found.blocks if isinstance(block, Table)]
    told = "\n".join(str(block.pieces[0]) for block in found.blocks if isinstance(block, Text))
    rows = [[_plain(cell) for cell in cells] for _, cells in grid.lines()]
    return {cells[0].text.removesuffix(" ●"): cells for cells in rows}, told


def _plain(cell: Cell) -> Cell:
    """The cell with plain spaces."""
    text, more = (part.replace("\N{NO-BREAK SPACE}", " ") for part in (cell.text, cell.more))
    return replace(cell, text=text, more=more)


def test_what_is_decided_has_a_colour_and_its_interval(made: tuple[OptimizationTable, Path]) -> None:
    rows, said = section(made[0])
    head, speed, memory, loss, *_ = rows["Activation checkpointing, full"]
    assert (speed.style, memory.style, loss.style) == ("worse", "better", "")
    assert speed.text.startswith("−25.0% ± ")
    assert memory.text.startswith("−40.0% ± ")
    assert speed.more == "8.00k → 6.00k"
    assert (loss.text, loss.more) == ("same numbers", "first step: 1e-07")
    assert head.text.endswith("full")
    speed, memory, loss = rows["Grouped-query attention"][1:4]
    assert (speed.style, memory.style, loss.style) == ("better", "", "worse")
    assert memory.more.endswith("; no difference")
    assert "Faster: Grouped-query attention (+10.0%)." in said
    assert "Lower loss: RoPE (−4." in said
    assert "2 more can't be measured here, each for the reason in its row." in said


def test_a_difference_within_the_spread_has_none(tmp_path: Path) -> None:
    noisy = measured(speed=1.05)
    for one, factor in zip(noisy.clocks["after"], (0.8, 1.0, 1.2), strict=True):
        one["tokens_per_second"] *= factor
    table = table_of(noisy, tmp_path)
    assert table.clocks[0]["speed"]["verdict"] == "undecided"
    cell = section(table)[0]["RoPE"][1]
    assert cell.style == ""
    assert cell.more.endswith("; undecided")


def table_of(found: Measured, folder: Path) -> OptimizationTable:
    inputs: dict[str, Artifact | None] = {"rope": artifact(folder / "rope", "optimizations/rope", found.model_dump())}
    return optimization_table.build(job_of(inputs, folder), **{**CONFIG, "names": ["rope"], "unfit": {}})


def test_other_numbers_are_told(made: tuple[OptimizationTable, Path]) -> None:
    rows, said = section(made[0])
    loss = rows["Chunked cross-entropy"][3]
    assert (loss.text, loss.style) == ("other numbers", "worse")
    assert "Should compute the same numbers and do not: Chunked cross-entropy." in said


def test_a_loss_at_another_rate_is_not_judged(made: tuple[OptimizationTable, Path]) -> None:
    loss = section(made[0])[0]["Muon"][3]
    assert (loss.text, loss.style) == ("not compared", "")
    assert loss.more.endswith("; needs its own rate")


def test_what_is_not_measured_has_its_reason_in_the_row(made: tuple[OptimizationTable, Path]) -> None:
    rows, _ = section(made[0])
    assert rows["Attention backend: flex"][0].more.endswith("Not measured: needs an NVIDIA GPU")
    assert "this is about attention" in rows["Multi-head latent attention"][0].more
    assert {cell.text for cell in rows["Attention backend: flex"][1:4]} == {"–"}
    assert int(rows["Attention backend: flex"][4].text) > 0


def test_the_page_is_written_and_clocks_are_volatile(made: tuple[OptimizationTable, Path]) -> None:
    table, out = made
    page = (out / PAGE).read_text(encoding="utf-8")
    assert "Activation checkpointing, full" in page
    assert "Use when" in page
    assert (out / ROWS).exists()
    assert set(OptimizationTable.volatile()) == {"clocks", "device"}
    assert not any("speed" in row or "lines" in row for row in table.rows)
