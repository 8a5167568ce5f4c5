"""The ``pedigree`` command: plan, run and query the stages of an experiment from a terminal, without Dagster."""

# The help lists the commands in the order of these imports.
from pipelines.commands import making, elsewhere, projects, models, talking, looking  # isort: skip
from pipelines.commands.application import app

__all__ = ["app", "elsewhere", "looking", "making", "models", "projects", "talking"]

if __name__ == "__main__":
    app()
