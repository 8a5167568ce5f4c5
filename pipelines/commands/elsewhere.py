"""Commands for training on another machine."""

import json
from pathlib import Path
from typing import Annotated

import typer

from llm_core.errors import PedigreeError
from pipelines import machine, show
from pipelines.commands.application import (
    AsJson,
    DeviceOption,
    DevicesOption,
    ExperimentName,
    command,
    console,
    refresh_views,
)
from pipelines.session import open_session

FULL_RUN = "pretrained_model"


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
    refresh_views(session.store.root)
