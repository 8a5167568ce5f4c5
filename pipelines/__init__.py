"""Dagster definitions per experiment, and the ``pedigree`` command."""
