"""The ``pedigree`` command: plan, run and query the stages of an experiment from a terminal, without Dagster."""

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
from llm_core.graph.requirements import check_packages
from llm_core.store.home import pedigree_home
from pipelines import machine, show
from pipelines.experiments import open_experiment
from pipelines.session import Session, open_session
from pipelines.study import study_note

WIDTH = 160
"""Columns of the output to a file or a pipe."""

FULL_RUN = "pretrained_model"
_CHUNK = 1000
"""Rows of a query that are in memory at once."""

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
Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        help="Agree to train again where only the code changed, whatever it costs, and to continue a run whose gate "
        "has closed since it began.",
    ),
]
StageOption = Annotated[
    str | None,
    typer.Option(help="The training run whose model it is. By default the last tuned one, or else the full run."),
]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="New tokens at most. By default, as many as the model's context leaves.")
]
Temperature = Annotated[float, typer.Option(help="0 always takes the most likely token.")]
TopK = Annotated[int | None, typer.Option(help="Only the k most likely tokens.")]
TopP = Annotated[float | None, typer.Option(help="Only the most likely tokens whose probabilities sum to p.")]
Penalty = Annotated[float, typer.Option(help="Above 1: tokens that were there become less likely.")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same text.")]
Stop = Annotated[list[str] | None, typer.Option(help="A text that ends the answer. Repeat it for several.")]
Retrieve = Annotated[
    int | None, typer.Option(min=1, max=20, help="The model reads so many passages of documents first, at most.")
]
Index = Annotated[
    str | None, typer.Option(help="The retrieval_index to search: its identity. By default, the experiment's own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _aside(line: str) -> None:
    """Print what is not the output itself."""
    print(line, file=sys.stderr)


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


@command
def plan(
    experiment: ExperimentName = "tiny",
    device: DeviceOption = None,
    devices: DevicesOption = None,
    as_json: AsJson = False,
) -> None:
    """Show which stages would run, why, how long each took last time, and the expected cost. Runs nothing."""
    session = machine.on_device(open_session(experiment), device, devices)
    items = show.planned(session)
    notes = machine.notes(session, items)
    costs = show.prices(session, items)
    if as_json:
        told = machine.with_notes(session, items, notes)
        print(json.dumps([show.plan_record(item, costs.get(item.stage)) for item in told], indent=1))
    else:
        console.print(show.plan_table(items, costs))
        study = study_note(session, costs)
        for line in [*([study] if study else []), *notes]:
            console.print(f"[yellow]note[/] {escape(line)}", soft_wrap=True)
    try:
        check_packages(session.graph, items, session.experiment.compute)
    except PedigreeError as error:
        print(f"note: {error}", file=sys.stderr)


@command
def run(
    experiment: ExperimentName = "tiny",
    select: Annotated[
        list[str] | None, typer.Option(help="Make this stage and all that it needs. Repeat it for several stages.")
    ] = None,
    force: Annotated[
        list[str] | None,
        typer.Option(help="Make this stage again, even if it is in the store. Repeat it for several stages."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Make the stages of the plan in order, without Dagster. Dagster finds and reuses the results."""
    session = open_session(experiment)
    _check_stages(session, [*(select or []), *(force or [])])
    only = {*select, *(force or [])} if select else None
    show.run(console, session, only, again=force or (), agree=lambda question: yes or _answered(question))
    _refresh_views(session.store.root)


def _answered(question: str) -> bool:
    """The answer of the user at the terminal. No, if there is no terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty() and typer.confirm(question)


def _check_stages(session: Session, names: list[str]) -> None:
    unknown = [name for name in names if name not in session.graph]
    if unknown:
        known = ", ".join(stage.name for stage in session.graph)
        raise PedigreeError(f"{session.experiment.name} has no stage {unknown[0]!r}; known: {known}")


@command
def launch(
    experiment: ExperimentName = "tiny",
    select: Annotated[str, typer.Option(help="A selection of assets, in Dagster's syntax.")] = "*",
    yes: Yes = False,
) -> None:
    """Show the plan, make its stages in a Dagster run, and print the paths of the reports.

    No run starts if all artifacts are in the store and Dagster knows them from the last run.
    """
    from pipelines import reported

    session = open_session(experiment)
    items = show.planned(session)
    console.print(show.plan_table(items, show.prices(session, items)))
    if select == "*" and reported.knows_all(session.graph, session.store, items):
        print("Everything is there, and Dagster knows it: there is nothing to run.")
    else:
        from pipelines import launching

        sys.stdout.flush()
        launching.launch(experiment, select, agreed=yes)
        items = session.planner().plan()
    if select == "*":
        reported.remember(session.graph, session.store, items)
        print("\nThe reports:")
        _print_reports(session, items)


@command
def accept(
    why: Annotated[str, typer.Option(help="The reason. It is recorded with your name and the time.")],
    stages: Annotated[
        list[str] | None, typer.Argument(help="Stages whose code changed, but not their results.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All stages of which only the code changed.")] = False,
    experiment: ExperimentOption = "tiny",
) -> None:
    """Record that a change of code does not change the results of stages: their artifacts are reused."""
    from llm_core.graph.accept import accept_several

    session = open_session(experiment)
    _check_stages(session, stages or [])
    if bool(stages) == everything:
        raise PedigreeError("name the stages to accept, or give --all: every stage of which only the code changed")
    accepted = 0
    for stage, alias in accept_several(session.planner(), None if everything else stages, why):
        accepted += alias is not None
        told = alias and f"{alias.target[:12]} is now used for {alias.identity[:12]} (accepted by {alias.who})"
        console.print(f"{stage}: {told or 'already a hit, nothing to accept'}")
    if not accepted:
        console.print("there is no stage of which only the code changed")


@command
def overrule(
    gate: Annotated[str, typer.Argument(help="The closed gate.")],
    because: Annotated[str, typer.Option(help="The reason. It is recorded with your name and the time.")],
    by: Annotated[str | None, typer.Option(help="Your name. By default the user of git.")] = None,
    experiment: ExperimentOption = "tiny",
) -> None:
    """Record that a stage is built although its gate is closed. It holds for this artifact of the gate only."""
    from llm_core.graph.overrule import overrule as sign

    session = open_session(experiment)
    _check_stages(session, [gate])
    decision = sign(session.planner(), gate, because, by)
    for check in decision.checks:
        console.print(f"overruled: {check.name}: {check.message}", markup=False)
    console.print(f"{gate} {decision.identity[:12]} counts as open (signed by {decision.who})", markup=False)


@command
def decide(
    experiment: ExperimentName = "tiny",
    most_seeds: Annotated[int, typer.Option(help="Ideas that are still undecided with so many seeds stay so.")] = 8,
    yes: Yes = False,
) -> None:
    """Train the ideas of a study, and undecided ones with more seeds, until each is decided or has the most seeds."""
    from pipelines import deciding

    session = open_session(experiment)
    found = deciding.decide(console, session, most_seeds, lambda question: yes or _answered(question))
    _refresh_views(session.store.root)
    console.print(deciding.verdicts(found.rows))
    console.print(deciding.to_write(found.study), markup=False, soft_wrap=True)


@command
def preflight(
    experiment: ExperimentName = "one_billion",
    device: DeviceOption = None,
    devices: DevicesOption = None,
    as_json: AsJson = False,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Write a bundle, for training on a machine without Pedigree, into this new folder. "
            "A name that ends in .json: write only the run's spec."
        ),
    ] = None,
    stage: Annotated[str, typer.Option(help="The training run of the bundle.")] = FULL_RUN,
    include_data: Annotated[
        bool,
        typer.Option("--include-data", help="Put the shards into the bundle, and what a branch starts from."),
    ] = False,
    shards: Annotated[
        Path, typer.Option(help="With --write FILE.json: the folder of the shards, relative to that file.")
    ] = Path("token_shards"),
    work: Annotated[
        Path,
        typer.Option(help="With --write FILE.json: the folder for checkpoints and weights, relative to that file."),
    ] = Path("run"),
) -> None:
    """Compute the memory, time and cost of the full run; it needs no GPU. A run that cannot fit is an error."""
    from llm_core.train.preflight import trainer_spec

    session = machine.on_device(open_session(experiment), device, devices)
    lines: list[str] = []
    if write is None or write.suffix == ".json":
        if stage != FULL_RUN or include_data:
            raise PedigreeError("--stage and --include-data need a bundle: give a new folder with --write")
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
    folder: Annotated[Path, typer.Argument(help="The folder run/ of the bundle that you copied back.")],
    experiment: Annotated[
        str | None, typer.Option("--experiment", "-e", help="By default the experiment that the bundle was made from.")
    ] = None,
) -> None:
    """Check a run that was trained from a bundle on another machine, and copy it into the store."""
    from pipelines import bare

    session, outcome = bare.adopt(folder, experiment, lambda line: console.print(line, markup=False))
    made = outcome.artifact.manifest
    console.print(f"{'hit' if outcome.cache == 'hit' else 'adopted'} {made.stage} {made.identity}", markup=False)
    show.failed_checks(console, outcome.checks)
    _refresh_views(session.store.root)


@command
def init(
    folder: Annotated[Path, typer.Argument(help="A new folder. Its name becomes the name of the project.")],
) -> None:
    """Make a project folder: an experiment, a data folder, and a cleaning rule of your own with its test."""
    from pipelines.new_project import make_project
    from pipelines.reference import editor

    made = make_project(folder)
    open_experiment(str(folder / "experiment.yaml"))  # so that its plug-in is loaded
    editor.write(folder / "schema.json")
    print(*made, folder / "schema.json", sep="\n")
    console.print(f"now: cd {folder}, then `make run` and `make test`", markup=False)


@command
def schema(
    file: Annotated[Path | None, typer.Argument(help="The file to write. By default, the schema is printed.")] = None,
    experiment: Annotated[
        str, typer.Option("--experiment", "-e", help="The experiment whose plug-ins it includes, by name or path.")
    ] = "tiny",
) -> None:
    """Write a JSON schema of experiments. With it, editors complete keys, show their meaning, and mark errors."""
    from pipelines.reference import editor

    open_experiment(experiment)
    if file is None:
        print(editor.text(), end="")
    else:
        editor.write(file)


@command
def model(
    name: Annotated[str, typer.Argument(help="A preset (see docs/models.md), or an experiment.")] = "tiny",
    vocab_size: Annotated[
        int | None, typer.Option(min=1, help="The size of the vocabulary. By default the experiment's, or 65,536.")
    ] = None,
    sequence_length: Annotated[
        int | None, typer.Option(min=1, help="Tokens per sequence. By default the experiment's, or 2,048.")
    ] = None,
) -> None:
    """Show the layers of a model, and its parameters, FLOPs and cache. Builds nothing."""
    from pipelines import show_model

    console.print(show_model.page(show_model.described(name, vocab_size, sequence_length)))


@command
def export(
    experiment: ExperimentName,
    folder: Annotated[Path, typer.Argument(help="A new folder.")],
    stage: StageOption = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="hf: a folder for transformers. gguf: a file for llama.cpp. onnx: a graph for onnxruntime."
        ),
    ] = "hf",
    dtype: Annotated[
        str | None,
        typer.Option(help="The type of the weights. hf: fp32 (as in training) or bf16. gguf: f16, q8_0 or f32."),
    ] = None,
) -> None:
    """Write a trained model and its tokenizer for other programs."""
    from pipelines import exchange

    print(exchange.export(open_session(experiment), stage, folder, form, dtype))


@command
def import_model(
    folder: Annotated[Path, typer.Argument(help="A Hugging Face folder: config.json and safetensors.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the model, in the format of the training stages.")],
) -> None:
    """Convert a Hugging Face folder into a model folder of Pedigree."""
    from pipelines import exchange

    print(exchange.import_model(folder, out))


@command
def sample(
    prompt: Annotated[str, typer.Argument(help="The beginning of a text.")],
    experiment: ExperimentOption = "tiny",
    stage: StageOption = None,
    max_tokens: MaxTokens = 200,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = None,
    repetition_penalty: Penalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    retrieve: Retrieve = None,
    index: Index = None,
) -> None:
    """Print how a trained model continues a text, token by token."""
    from pipelines import talking

    served = talking.open_served(open_session(experiment), stage, _aside, index, retrieve is not None)
    choice = talking.Choice(max_tokens, temperature, top_k, top_p, repetition_penalty, seed, stop or (), retrieve)
    begun = served.cited_completion(prompt, retrieve, max_tokens)
    for piece in talking.texts(served, begun.ids, choice):
        print(piece, end="", flush=True)
    print()
    for line in talking.cited(begun):
        _aside(line)


@command
def chat(
    experiment: ExperimentName = "tiny",
    stage: StageOption = None,
    system: Annotated[str | None, typer.Option(help="A system line, which comes before the conversation.")] = None,
    max_tokens: MaxTokens = None,
    temperature: Temperature = 0.8,
    top_k: TopK = None,
    top_p: TopP = 0.95,
    repetition_penalty: Penalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    retrieve: Retrieve = None,
    index: Index = None,
) -> None:
    """Talk to a trained model in the terminal."""
    from pipelines import talking

    def write(text: str) -> None:
        print(text, end="", flush=True)

    served = talking.open_served(open_session(experiment), stage, _aside, index, retrieve is not None)
    choice = talking.Choice(max_tokens, temperature, top_k, top_p, repetition_penalty, seed, stop or (), retrieve)
    talking.chat(served, choice, system, input, write)


@command
def serve(
    experiment: ExperimentName = "tiny",
    stage: StageOption = None,
    host: Annotated[str, typer.Option(help="The address to listen at. By default, only this machine reaches it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    rows: Annotated[int, typer.Option(min=1, max=256, help="Answers that are written at the same time.")] = 8,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Another name under which clients reach this server.")
    ] = None,
    index: Index = None,
) -> None:
    """Serve a trained model: a page to talk to it, and OpenAI's API."""
    from pipelines import talking

    talking.serve(
        open_session(experiment),
        stage,
        host=host,
        port=port,
        rows=rows,
        allowed=allow_host or (),
        index=index,
        tell=print,
    )


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
    _refresh_views(root)


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
    _print_reports(session, session.planner().plan(PAGES.keys() & {stage.name for stage in session.graph}))


def _print_reports(session: Session, planned: Iterable[PlanItem]) -> None:
    items = {item.stage: item for item in planned}
    pages = {stage: page for stage, page in PAGES.items() if stage in items}
    found = [(items[stage].artifact, page) for stage, page in pages.items()]
    made = [artifact.path / page for artifact, page in found if artifact is not None]
    if not made:
        reasons = "; ".join(items["training_report"].reasons)
        raise PedigreeError(f"{session.experiment.name} has no report for its current settings: {reasons}")
    _refresh_views(session.store.root)
    print(*made, sep="\n")
    for stage in pages:
        if items[stage].artifact is None:
            print(
                f"note: there is no {stage} for the current settings: {'; '.join(items[stage].reasons)}",
                file=sys.stderr,
            )


def _refresh_views(root: Path) -> None:
    """Update the database that other programs read. Nothing in Pedigree needs it."""
    import duckdb

    from llm_core.store.views import write_views

    database = root.parent / "pedigree.duckdb"
    if os.access(root, os.W_OK):
        try:
            write_views(root, database)
        except (OSError, duckdb.Error) as error:
            print(f"warning: {database} could not be written, so it is older than the store: {error}", file=sys.stderr)


if __name__ == "__main__":
    app()
