"""What techniques of model and trainer cost and bring on this machine, as a page of the documentation.

    python -m benchmarks.optimizations [EXPERIMENT.yaml] [--write docs/results/optimizations.md]

The experiment needs the section ``optimizations``; by default it is ``benchmarks/optimizations.yaml``. Its
``optimization_table`` is made through the store, as ``pedigree run`` does it.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from llm_core.errors import PedigreeError
from llm_core.optimizations.results import OptimizationTable
from llm_core.report.blocks import Cell, Section, Table, Text
from llm_core.report.optimization_table import ROWS
from llm_core.report.sections.techniques import techniques
from pipelines import show
from pipelines.session import Session, open_session

EXPERIMENT = Path(__file__).with_suffix(".yaml")
STAGE = "optimization_table"
HEAD = (
    "# What techniques cost and bring\n\n`python -m benchmarks.optimizations`; [how to read it](../optimizations.md).\n"
)


def main() -> None:
    """Measure what is missing, print the table, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default=str(EXPERIMENT))
    parser.add_argument("--write", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    session = open_session(options.experiment)
    if STAGE not in session.graph:
        raise PedigreeError(f"{options.experiment}: it has no section optimizations; add `optimizations: {{}}`")
    show.run(Console(), session, {STAGE})
    page = "\n".join([HEAD, *markdown(measured(session))])
    print(page)
    if options.write is not None:
        options.write.write_text(page + "\n", encoding="utf-8")


def measured(session: Session) -> Section:
    """The section of the finished table."""
    artifact = session.planner().look(STAGE)[-1].artifact
    if artifact is None:
        raise PedigreeError(f"{STAGE} was not made")
    config = artifact.manifest.config
    table = OptimizationTable(**json.loads((artifact.path / ROWS).read_bytes()))
    return techniques(table, config["tokens"], config["margin"], config["loss_margin"])


def markdown(section: Section) -> list[str]:
    """Its paragraphs and its table."""
    lines: list[str] = []
    for block in section.blocks:
        if isinstance(block, Text):
            lines += ["".join(piece if isinstance(piece, str) else piece.text for piece in block.pieces), ""]
        elif isinstance(block, Table):
            lines += [_row(block.columns), _row(["---"] * len(block.columns))]
            lines += [_row(_plain(cell, style) for cell in cells) for style, cells in block.lines()]
            lines.append("")
    return lines


def _plain(cell: Cell, style: str) -> str:
    text = f"**{cell.text}**" if cell.text and (style == "level" or cell.style in ("better", "worse")) else cell.text
    return f"{text}<br>{cell.more}" if cell.more else text


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
