"""The ``pedigree`` command: the same stages as in Dagster, planned, run and asked about from a terminal."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from assets.release import PAGES
from llm_core.errors import PedigreeError
from llm_core.graph.plan import PlanItem
from llm_core.store.home import pedigree_home
from pipelines import machine, show
from pipelines.experiments import open_experiment
from pipelines.requirements import check_requirements
from pipelines.session import Session, open_session

WIDTH = 160
"""Columns of what goes to a file or a pipe."""

FULL_RUN = "pretrained_model"
_CHUNK = 1000
"""Rows of a query that are in memory at once."""

app = typer.Typer(
    help="Language models from scratch as a graph of artifacts that know what they were made from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)

ExperimentName = Annotated[str, typer.Argument(help="An experiment by name, or the path of its YAML file.")]
ExperimentOption = Annotated[str, typer.Option("--experiment", "-e", help="Whose stages names refer to.")]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help='Plan for this GPU ("RTX PRO 4500"), whatever the experiment says.')
]
DevicesOption = Annotated[int | None, typer.Option("--devices", min=1, help="How many of them; by default one.")]
Yes = Annotated[bool, typer.Option("--yes", help="Train again what has only code for a reason, whatever it costs.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@contextmanager
def _told() -> Iterator[None]:
    """Errors for people go to standard error in one piece, and end the command with 1."""
    try:
        yield
    except PedigreeError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print("[bold red]error:[/] ", end="")
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """A command of the application, whose ``PedigreeError`` is told without a traceback."""
    return app.command()(_told()(function))


@command
def plan(
    experiment: ExperimentName = "tiny",
    device: DeviceOption = None,
    devices: DevicesOption = None,
    as_json: AsJson = False,
) -> None:
    """What would run, why, how long it took last, and what it will cost; nothing is run."""
    session = machine.on_device(open_session(experiment), device, devices)
    items = show.planned(session)
    notes = machine.notes(session, items)
    costs = show.prices(session, items)
    if as_json:
        told = machine.with_notes(session, items, notes)
        print(json.dumps([show.plan_record(item, costs.get(item.stage)) for item in told], indent=1))
    else:
        console.print(show.plan_table(items, costs))
        for line in notes:
            console.print(f"[yellow]note[/] {escape(line)}", soft_wrap=True)
    try:
        check_requirements(session.experiment, session.graph, items)
    except PedigreeError as error:
        print(f"note: {error}", file=sys.stderr)


@command
def run(
    experiment: ExperimentName = "tiny",
    select: Annotated[
        list[str] | None, typer.Option(help="A stage, with what it is made from; repeat for several.")
    ] = None,
    force: Annotated[
        list[str] | None, typer.Option(help="A stage that is made again though it is there; repeat for several.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Make what the plan says, in order, without Dagster's daemon; the UI sees the artifacts as hits."""
    session = open_session(experiment)
    _check_stages(session, [*(select or []), *(force or [])])
    only = {*select, *(force or [])} if select else None
    show.run(console, session, only, again=force or (), agree=lambda question: yes or _answered(question))
    _refresh_views(session.store.root)


def _answered(question: str) -> bool:
    """What a person at the terminal says; no where there is none."""
    return sys.stdin.isatty() and sys.stdout.isatty() and typer.confirm(f"{question} Train it again?")


def _check_stages(session: Session, names: list[str]) -> None:
    unknown = [name for name in names if name not in session.graph]
    if unknown:
        known = ", ".join(stage.name for stage in session.graph)
        raise PedigreeError(f"{session.experiment.name} has no stage {unknown[0]!r}; known: {known}")


@command
def launch(
    experiment: ExperimentName = "tiny",
    select: Annotated[str, typer.Option(help="A selection of assets, as Dagster writes them.")] = "*",
    yes: Yes = False,
) -> None:
    """Show the plan, and make it in a Dagster run (`dg launch` in this process); then say where the reports are.

    When all is there, and Dagster knows it from the last such run, there is no new one.
    """
    from pipelines import told

    session = open_session(experiment)
    items = show.planned(session)
    console.print(show.plan_table(items, show.prices(session, items)))
    if select == "*" and told.knows_all(session.graph, session.store, items):
        print("Everything is there, and Dagster knows it: there is nothing to run.")
    else:
        from pipelines import launching

        sys.stdout.flush()
        launching.launch(experiment, select, agreed=yes)
        items = session.planner().plan()
    if select == "*":
        told.remember(session.graph, session.store, items)
        print("\nThe reports:")
        _print_reports(session, items)


@command
def accept(
    why: Annotated[str, typer.Option(help="The reason, which is recorded with your name and the time.")],
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages whose code changed without changing their results.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All stages of which nothing but code has changed.")
    ] = False,
    experiment: ExperimentOption = "tiny",
) -> None:
    """Record that changed code can't have changed the results of stages, so that their artifacts serve on."""
    from llm_core.graph.accept import accept_several

    session = open_session(experiment)
    _check_stages(session, stages or [])
    if bool(stages) == everything:
        raise PedigreeError("name the stages to accept, or give --all: every stage of which only the code changed")
    accepted = 0
    for stage, alias in accept_several(session.planner, None if everything else stages, why):
        accepted += alias is not None
        told = alias and f"{alias.target[:12]} now serves {alias.identity[:12]} (accepted by {alias.who})"
        console.print(f"{stage}: {told or 'a hit already'}")
    if not accepted:
        console.print("there is no stage of which nothing but code has changed")


@command
def preflight(
    experiment: ExperimentName = "one_billion",
    device: DeviceOption = None,
    devices: DevicesOption = None,
    as_json: AsJson = False,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Write a bundle for a bare machine into this new folder; of a name in .json, its spec alone."
        ),
    ] = None,
    stage: Annotated[str, typer.Option(help="The training run that the bundle is of.")] = FULL_RUN,
    include_data: Annotated[bool, typer.Option("--include-data", help="Put shards and start into the bundle.")] = False,
    shards: Annotated[
        Path, typer.Option(help="Of a spec alone: where the shards will be, relative to the written file.")
    ] = Path("token_shards"),
    work: Annotated[
        Path, typer.Option(help="Of a spec alone: where checkpoints and weights will go, likewise.")
    ] = Path("run"),
) -> None:
    """Parameters, memory, time and cost of the full run, without any GPU; refuses what cannot fit."""
    from llm_core.train.preflight import trainer_spec

    session = machine.on_device(open_session(experiment), device, devices)
    lines: list[str] = []
    if write is None or write.suffix == ".json":
        if stage != FULL_RUN or include_data:
            raise PedigreeError("--stage and --include-data are of a bundle: name a new folder for it with --write")
        report = machine.examined(session)
    else:
        from pipelines import bare

        report, lines = bare.bundle(session, stage, write, include_data)
    if write is not None and write.suffix == ".json":
        try:
            trainer_spec(session.experiment, shards, work).write(write)
        except OSError as error:
            raise PedigreeError(f"{write}: can't be written: {error.strerror}") from None
    if as_json:
        print(json.dumps(show.preflight_record(report), indent=1))
    else:
        console.print(show.preflight_table(report))
        console.print(*lines, sep="\n", markup=False, soft_wrap=True)


@command
def adopt(
    folder: Annotated[Path, typer.Argument(help="The folder run of a bundle, as it came back.")],
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="By default the one that the bundle was made of.")
    ] = None,
) -> None:
    """Take a run from a bare machine into the store, after checking it; the folder stays as it is."""
    from pipelines import bare

    session, outcome = bare.adopt(folder, experiment, lambda line: console.print(line, markup=False))
    made = outcome.artifact.manifest
    console.print(f"{'hit' if outcome.cache == 'hit' else 'adopted'} {made.stage} {made.identity}", markup=False)
    show.failed_checks(console, outcome.checks)
    _refresh_views(session.store.root)


@command
def init(folder: Annotated[Path, typer.Argument(help="A new folder; its name becomes that of the project.")]) -> None:
    """Begin a project of your own: an experiment, a data folder, a cleaning rule as a plug-in with its test."""
    from pipelines.new_project import make_project
    from pipelines.reference import editor

    made = make_project(folder)
    open_experiment(str(folder / "experiment.yaml"))  # so that its plug-in is loaded
    editor.write(folder / "schema.json")
    print(*made, folder / "schema.json", sep="\n")
    console.print(f"now: cd {folder}, then `make run` and `make test`", markup=False)


@command
def schema(
    file: Annotated[Path | None, typer.Argument(help="Where to write it; by default it is printed.")] = None,
    experiment: Annotated[
        str, typer.Option("--experiment", "-e", help="Whose plug-ins are part of it, by name or path.")
    ] = "tiny",
) -> None:
    """The JSON schema of experiments, for editors: they complete keys with it, show their meaning and mark errors."""
    from pipelines.reference import editor

    open_experiment(experiment)
    if file is None:
        print(editor.text(), end="")
    else:
        editor.write(file)


@command
def model(
    name: Annotated[str, typer.Argument(help="A model by name (see docs/models.md), or an experiment.")] = "tiny",
    vocab_size: Annotated[
        int | None, typer.Option(min=1, help="Entries of the vocabulary; by default the experiment's, or 65,536.")
    ] = None,
    sequence_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a sequence; by default the experiment's, or 2,048.")
    ] = None,
) -> None:
    """The layers of a model, and what it costs: parameters, FLOPs and cache. Nothing is built."""
    from pipelines import show_model

    console.print(show_model.page(show_model.described(name, vocab_size, sequence_length)))


@command
def export(
    experiment: ExperimentName,
    folder: Annotated[Path, typer.Argument(help="A new folder, for transformers' from_pretrained.")],
    stage: Annotated[str, typer.Option(help="The training run to export.")] = "pretrained_model",
    dtype: Annotated[str, typer.Option(help="Of the weights: fp32, as they were trained, or bf16.")] = "fp32",
) -> None:
    """Write a trained model and its tokenizer as a Hugging Face folder."""
    from pipelines import exchange

    print(exchange.export(open_session(experiment), stage, folder, dtype))


@command
def import_model(
    folder: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json and safetensors.")],
    out: Annotated[Path, typer.Argument(help="A new folder, for a model as the training stages leave it.")],
) -> None:
    """Turn a Hugging Face folder into a model folder of this project."""
    from pipelines import exchange

    print(exchange.import_model(folder, out))


@command
def why(
    what: Annotated[
        str | None, typer.Argument(help="A training run (stage or identity) with STEP; or a score, task/metric.")
    ] = None,
    step: Annotated[int | None, typer.Argument(help="An optimiser step of the run; the first is 1.")] = None,
    document: Annotated[
        str | None,
        typer.Option("--document", "-d", help="A doc_id or its start, SOURCE/ORIGIN:ROW, or SPLIT@TOKEN (train@1234)."),
    ] = None,
    experiment: ExperimentOption = "tiny",
    as_json: AsJson = False,
) -> None:
    """Where a step or a score came from, down to the source documents; and what became of a document."""
    from pipelines import follow, trace

    session = open_session(experiment)
    if (what is None) == (document is None):
        raise PedigreeError("name a run with a step, or a score; or a document with --document")
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
    source: Annotated[str | None, typer.Option(help="Of this source alone.")] = None,
    as_json: AsJson = False,
) -> None:
    """What each stage and rule left of the sources, from raw documents to tokens; of what was made last."""
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
    """Ask DuckDB about everything that was made or is being made."""
    import duckdb

    from llm_core.store.views import damaged_metrics, open_views

    root = pedigree_home() / "store"
    for problem in damaged_metrics(root).values():
        print(f"left out of steps and runs: {problem}", file=sys.stderr)
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
    _refresh_views(root)


def _chunks(connection: Any) -> Iterator[list[tuple[Any, ...]]]:
    while rows := connection.fetchmany(_CHUNK):
        yield rows


@command
def verify(experiment: ExperimentName = "tiny") -> None:
    """Read in full what was made or hit last of every stage, and compare it with its manifest."""
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
            for problem in session.store.left_out(artifact, full=True).values():
                console.print("[yellow]left out[/]", f"  {escape(problem)}", soft_wrap=True)
    if damaged:
        raise PedigreeError(f"{damaged} damaged; the next run makes them anew")


@command
def report(experiment: ExperimentName = "tiny") -> None:
    """Say where the data report and the training report are."""
    session = open_session(experiment)
    _print_reports(session, session.planner().plan(set(PAGES)))


def _print_reports(session: Session, planned: Iterable[PlanItem]) -> None:
    items = {item.stage: item for item in planned}
    found = [(items[stage].artifact, page) for stage, page in PAGES.items()]
    made = [artifact.path / page for artifact, page in found if artifact is not None]
    if not made:
        reasons = "; ".join(items["training_report"].reasons)
        raise PedigreeError(f"there is no report of {session.experiment.name} as it is now: {reasons}")
    _refresh_views(session.store.root)
    print(*made, sep="\n")
    for stage in PAGES:
        if items[stage].artifact is None:
            print(f"note: there is no {stage} as it is now: {'; '.join(items[stage].reasons)}", file=sys.stderr)


def _refresh_views(root: Path) -> None:
    """Keep the database for other programs in step with what kinds of files there are; it is only a convenience."""
    import duckdb

    from llm_core.store.views import write_views

    database = root.parent / "pedigree.duckdb"
    if os.access(root, os.W_OK):
        try:
            write_views(root, database)
        except (OSError, duckdb.Error) as error:
            print(f"warning: {database} could not be written, and is not as new as the store: {error}", file=sys.stderr)


if __name__ == "__main__":
    app()
