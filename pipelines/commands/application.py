"""The application that the commands belong to, and what they have in common."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from assets.release import PAGES
from llm_core.errors import PedigreeError
from llm_core.graph.plan import PlanItem
from pipelines.session import Session

WIDTH = 160
"""Columns of the output to a file or a pipe."""

app = typer.Typer(
    help="Train language models from scratch. Artifacts know what they were made from; nothing is made twice.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)

ExperimentName = Annotated[str, typer.Argument(help="An experiment by name, or the path of its YAML file.")]
ExperimentOption = Annotated[str, typer.Option("--experiment", "-e", help="The experiment that the stages belong to.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help='Plan for this GPU, as in "RTX PRO 4500", instead of the experiment\'s.')
]
DevicesOption = Annotated[int | None, typer.Option("--devices", min=1, help="The number of these GPUs; by default 1.")]
StageOption = Annotated[
    str | None,
    typer.Option(help="The training run whose model it is. By default the last tuned one, or else the full run."),
]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        help="Agree to train again where only the code changed, whatever it costs, and to continue a run whose gate "
        "has closed since it began.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def _told() -> Iterator[None]:
    """Print a ``PedigreeError`` to standard error, and end the command with exit code 1."""
    try:
        yield
    except PedigreeError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print("[bold red]error:[/] ", end="")
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command of the application. It prints a ``PedigreeError`` without a traceback."""
    return app.command()(_told()(function))


def answered(question: str) -> bool:
    """The answer of the user at the terminal. No, if there is no terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty() and typer.confirm(question)


def check_stages(session: Session, names: list[str]) -> None:
    """Raise ``PedigreeError`` for names that are no stages of the experiment."""
    unknown = [name for name in names if name not in session.graph]
    if unknown:
        known = ", ".join(stage.name for stage in session.graph)
        raise PedigreeError(f"{session.experiment.name} has no stage {unknown[0]!r}; known: {known}")


def print_reports(session: Session, planned: Iterable[PlanItem]) -> None:
    """Print the paths of the reports that the plan found. Raises ``PedigreeError`` if there is none."""
    items = {item.stage: item for item in planned}
    pages = {stage: page for stage, page in PAGES.items() if stage in items}
    found = [(items[stage].artifact, page) for stage, page in pages.items()]
    made = [artifact.path / page for artifact, page in found if artifact is not None]
    if not made:
        reasons = "; ".join(items["training_report"].reasons)
        raise PedigreeError(f"{session.experiment.name} has no report for its current settings: {reasons}")
    refresh_views(session.store.root)
    print(*made, sep="\n")
    for stage in pages:
        if items[stage].artifact is None:
            print(
                f"note: there is no {stage} for the current settings: {'; '.join(items[stage].reasons)}",
                file=sys.stderr,
            )


def refresh_views(root: Path) -> None:
    """Update the database that other programs read. Nothing in Pedigree needs it."""
    import duckdb

    from llm_core.store.views import write_views

    database = root.parent / "pedigree.duckdb"
    if os.access(root, os.W_OK):
        try:
            write_views(root, database)
        except (OSError, duckdb.Error) as error:
            print(f"warning: {database} could not be written, so it is older than the store: {error}", file=sys.stderr)
