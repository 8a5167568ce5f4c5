"""Bundles for training on a machine without Pedigree, and their way back into the store."""

from collections.abc import Callable
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.graph.execute import Outcome
from llm_core.train.preflight import Preflight
from pipelines.session import Session, open_session


def bundle(session: Session, stage: str, folder: Path, include: bool) -> tuple[Preflight, list[str]]:
    """Write the bundle of ``stage`` into ``folder``. Returns the preflight of the run, and lines to print."""
    from llm_core.train.bundle import write_bundle

    written = write_bundle(session.planner(), session.experiment, stage, folder, include)
    lines = [f"{folder}: {stage} of {session.experiment.name}, {written.identity}"]
    lines += [
        f"not in the bundle: {name}, {size:,} bytes in {path}"
        for name, (path, size) in sorted(written.to_fetch.items())
    ]
    lines.append(
        f"copy the bundle, and what {folder / 'fetch.txt'} lists, to the machine that trains; there, type ./run.sh"
    )
    return written.report, lines


def adopt(folder: Path, experiment: str | None, log: Callable[[str], None]) -> tuple[Session, Outcome]:
    """Copy the run in ``folder`` into the store. ``experiment``: a name or path; by default, the run's."""
    from llm_core.train.adopting import adopt as take_in
    from llm_core.train.adopting import bundled_run

    _, manifest = bundled_run(folder)
    try:
        session = open_session(experiment or manifest.experiment)
    except PedigreeError as error:
        if experiment is not None:
            raise
        raise PedigreeError(f"{error}. Give the YAML file of {manifest.experiment} with --experiment") from None
    return session, take_in(session.planner(), folder, log)
