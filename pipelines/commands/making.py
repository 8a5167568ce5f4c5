"""Commands that make stages, and those that decide what is made."""

import json
import sys
from typing import Annotated

import typer
from rich.markup import escape

from llm_core.errors import PedigreeError
from llm_core.graph.requirements import check_packages
from pipelines import machine, show
from pipelines.commands.application import (
    AsJson,
    DeviceOption,
    DevicesOption,
    ExperimentName,
    ExperimentOption,
    Yes,
    answered,
    check_stages,
    command,
    console,
    print_reports,
    refresh_views,
)
from pipelines.session import open_session
from pipelines.study import study_note


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
    check_stages(session, [*(select or []), *(force or [])])
    only = {*select, *(force or [])} if select else None
    show.run(console, session, only, again=force or (), agree=lambda question: yes or answered(question))
    refresh_views(session.store.root)


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
        print_reports(session, items)


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
    check_stages(session, stages or [])
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
    check_stages(session, [gate])
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
    found = deciding.decide(console, session, most_seeds, lambda question: yes or answered(question))
    refresh_views(session.store.root)
    console.print(deciding.verdicts(found.rows))
    console.print(deciding.to_write(found.study), markup=False, soft_wrap=True)
