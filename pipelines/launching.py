"""``dg launch`` in this process, which has read the code already: a second process would read it all again."""

import os
import shutil
from pathlib import Path

import click
import dagster as dg

from llm_core.errors import PedigreeError
from llm_core.extras import missing
from llm_core.store.home import pedigree_home
from pipelines.experiments import experiment_file

_HERE = Path(__file__).parent
CONSOLE, AGREED = _HERE / "console.yaml", _HERE / "agreed.yaml"
"""Settings of a run: what it tells in a terminal; a yes to training again what has only code for a reason."""


def location(experiment: str) -> str:
    """The module of an experiment's code location; one without a module of its own goes through ``pipelines.custom``.

    That one reads ``PEDIGREE_EXPERIMENT``, which is set here.
    """
    path = experiment_file(experiment)
    if not experiment.endswith((".yaml", ".yml")) and (_HERE / f"{experiment}.py").is_file():
        return f"pipelines.{experiment}"
    os.environ["PEDIGREE_EXPERIMENT"] = str(path.resolve())
    return "pipelines.custom"


def launch(experiment: str, select: str, *, agreed: bool = False) -> None:
    """Materialize ``select`` in a run of the instance in ``DAGSTER_HOME`` (by default inside ``PEDIGREE_HOME``).

    ``agreed``: what has only code for a reason is trained again, whatever it costs. Raises ``PedigreeError`` when the
    run fails; why, stands above it.
    """
    try:
        from dagster_dg_cli.cli.launch import launch_command
    except ImportError:
        raise missing("a run in Dagster", "dagster-dg-cli", "ui") from None
    _prepare_home()
    arguments = ["-m", location(experiment), "--assets", select, "-c", str(CONSOLE)]
    arguments += ["-c", str(AGREED)] if agreed else []
    try:
        launch_command.main(arguments, "dg launch", standalone_mode=False)
    except click.ClickException as error:
        raise PedigreeError(f"{error.format_message()} What failed, and why, stands above") from None
    except dg.DagsterError as error:  # of steps, Dagster tells in the log; what comes here is about what was asked for
        raise PedigreeError(f"Dagster can't launch {select!r}: {error}") from None


def _prepare_home() -> None:
    """A folder for Dagster's own files, with our settings."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(pedigree_home() / "dagster")))
    settings = home / "dagster.yaml"
    if not settings.exists():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_HERE / "dagster.yaml", settings)
