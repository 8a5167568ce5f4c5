"""``dg launch`` in this process: a second process would have to load all the code again."""

import os
import shutil
from pathlib import Path

import click
import dagster as dg

from llm_core.errors import PedigreeError
from llm_core.extras import missing
from llm_core.store.files import disk_errors
from llm_core.store.home import pedigree_home
from pipelines.experiments import experiment_file

_HERE = Path(__file__).parent
CONSOLE, AGREED = _HERE / "console.yaml", _HERE / "agreed.yaml"
"""Files with settings of a run: the console logger; consent to train again where only the code changed."""


def location(experiment: str) -> str:
    """The module of an experiment's code location: its own module, or else ``pipelines.custom``.

    ``pipelines.custom`` reads ``PEDIGREE_EXPERIMENT``, which this function sets.
    """
    path = experiment_file(experiment)
    if not experiment.endswith((".yaml", ".yml")) and (_HERE / f"{experiment}.py").is_file():
        return f"pipelines.{experiment}"
    os.environ["PEDIGREE_EXPERIMENT"] = str(path.resolve())
    return "pipelines.custom"


def launch(experiment: str, select: str, *, agreed: bool = False) -> None:
    """Materialize ``select`` in a run of the instance in ``DAGSTER_HOME`` (by default inside ``PEDIGREE_HOME``).

    ``agreed``: consent to train again where only the code changed, whatever it costs. Raises ``PedigreeError`` when the
    run fails; the log above it has the reason.
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
        raise PedigreeError(f"{error.format_message()} The lines above say what failed, and why") from None
    except dg.DagsterError as error:  # errors of steps are in Dagster's log; this one is about the request
        raise PedigreeError(f"Dagster can't launch {select!r}: {error}") from None


def _prepare_home() -> None:
    """Make Dagster's home folder, with our settings."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(pedigree_home() / "dagster")))
    settings = home / "dagster.yaml"
    if not settings.exists():
        with disk_errors(home):
            home.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_HERE / "dagster.yaml", settings)
