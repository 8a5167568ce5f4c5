"""Commands for a project of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.application import command, console
from pipelines.experiments import open_experiment


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
