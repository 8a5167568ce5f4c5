"""Commands that look at what was made."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from assets.release import PAGES
from llm_core.errors import PedigreeError
from llm_core.store.home import pedigree_home
from pipelines import show
from pipelines.commands.application import (
    AsJson,
    ExperimentName,
    ExperimentOption,
    command,
    console,
    print_reports,
    refresh_views,
)
from pipelines.session import open_session

_CHUNK = 1000
"""Rows of a query that are in memory at once."""


@command
def why(
    what: Annotated[
        str | None,
        typer.Argument(help="A training run (stage or identity), followed by STEP; or a score (TASK/METRIC)."),
    ] = None,
    step: Annotated[int | None, typer.Argument(help="An optimiser step of the run. The first is 1.")] = None,
    document: Annotated[
        str | None,
        typer.Option(
            "--document",
            "-d",
            help="A doc_id or its first characters; SOURCE/FILE:ROW (rows from 0); or SPLIT@TOKEN (train@1234).",
        ),
    ] = None,
    experiment: ExperimentOption = "tiny",
    as_json: AsJson = False,
) -> None:
    """Show the documents behind a step or a score; or what became of a document."""
    from pipelines import follow, trace

    session = open_session(experiment)
    if (what is None) == (document is None):
        raise PedigreeError("give a run and a step, or a score; or a document with --document")
    if document is not None:
        found = follow.document_history(session, document)
        print(json.dumps(follow.history_record(found), indent=1)) if as_json else console.print(
            follow.history_table(found)
        )
        return
    assert what is not None
    if step is not None:
        rows = trace.step_rows(session, what, step)
        print(json.dumps(rows, indent=1)) if as_json else console.print(trace.step_table(what, step, rows))
    else:
        score, tree = trace.score(session, what)
        print(json.dumps(trace.tree_record(score, tree), indent=1)) if as_json else console.print(
            trace.tree(score, tree)
        )


@command
def funnel(
    experiment: ExperimentName = "tiny",
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how many documents are left after each stage and rule, from the sources to the tokens."""
    from pipelines.funnel import funnel_rows, funnel_table

    session = open_session(experiment)
    rows = funnel_rows(session, source)
    print(json.dumps(rows, indent=1)) if as_json else console.print(funnel_table(session.experiment.name, source, rows))


@command
def query(
    sql: Annotated[
        str, typer.Argument(help="DuckDB SQL over artifacts, inputs, checks, runs, steps, evals, samples, drops.")
    ],
    as_json: AsJson = False,
) -> None:
    """Run a DuckDB query over all artifacts and runs, including unfinished runs."""
    import duckdb

    from llm_core.store.views import damaged_metrics, open_views

    root = pedigree_home() / "store"
    for problem in damaged_metrics(root).values():
        print(f"not included in the views steps and runs: {problem}", file=sys.stderr)
    with open_views(root) as connection:
        try:
            relation = connection.sql(sql)
            if relation is None:
                return
            # A relation is lazy: an error of the data comes when it is read.
            if as_json:
                rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
                print(json.dumps(show.finite(rows), indent=1, default=str))
            else:
                connection.execute("FROM relation")  # the variable
                show.paged(show.query_lines(relation.columns, _chunks(connection)))
        except duckdb.Error as error:
            raise PedigreeError(f"DuckDB: {error}") from None
    refresh_views(root)


def _chunks(connection: Any) -> Iterator[list[tuple[Any, ...]]]:
    while rows := connection.fetchmany(_CHUNK):
        yield rows


@command
def verify(experiment: ExperimentName = "tiny") -> None:
    """Read the current artifact of every stage in full, and compare it with its manifest."""
    session = open_session(experiment)
    damaged = 0
    for stage in session.graph:
        artifact, damage = session.store.last(session.experiment.name, stage.kind, stage.name)
        if artifact is not None:
            damage = session.store.verifier.damage(artifact, full=True)
        if artifact is not None or damage:
            damaged += damage is not None
            mark = "[red]damaged[/] " if damage else "[green]whole[/]   "
            console.print(mark, stage.name, escape(damage or ""), soft_wrap=True)
        if artifact is not None:
            for problem in session.store.damaged_files(artifact, full=True).values():
                console.print("[yellow]left out[/]", f"  {escape(problem)}", soft_wrap=True)
    if damaged:
        raise PedigreeError(f"{damaged} damaged; the next run makes them again")


@command
def report(experiment: ExperimentName = "tiny") -> None:
    """Print the paths of the data report and the training report."""
    session = open_session(experiment)
    print_reports(session, session.planner().plan(PAGES.keys() & {stage.name for stage in session.graph}))
