"""The Dagster code location of this project."""

from pathlib import Path

from pipelines.definitions import definitions

defs = definitions(str(Path(__file__).parent / "experiment.yaml"))
