"""The experiments that come with Pedigree; finds an experiment by name or path."""

from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.load import load_experiment
from pipelines.start_sections import with_start

FOLDER = Path(__file__).parent


def open_experiment(name: str) -> Experiment:
    """An experiment by name or path. It may extend a file in its own folder, or an experiment of Pedigree."""
    return load_experiment(experiment_file(name), FOLDER, with_start)


def experiment_file(name: str) -> Path:
    """The YAML file of an experiment: an experiment of Pedigree by name, or a path."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(item.stem for item in FOLDER.glob("*.yaml")))
        raise PedigreeError(f"there is no experiment {name!r}; known: {known}; or give the path of a YAML file")
    return path
