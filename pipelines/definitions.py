"""Definitions of one experiment: its assets, resources, jobs, schedules and sensor."""

import warnings

import dagster as dg

from pipelines.as_asset import as_asset
from pipelines.automation import jobs, schedules, source_sensor
from pipelines.console import console_logger
from pipelines.resources import ComputeResource, ConsentResource, StoreResource, TrackingResource
from pipelines.session import open_session

# Warnings about beta or preview features in Dagster's own code: a user can't change them.
for _category in (dg.BetaWarning, dg.PreviewWarning):
    warnings.filterwarnings("ignore", category=_category, module=r"dagster\.")


def definitions(name: str) -> dg.Definitions:
    """The code location of an experiment, by name or path."""
    session = open_session(name)
    experiment, graph, planner = session.experiment, session.graph, session.planner()
    return dg.Definitions(
        assets=[as_asset(graph, stage, planner, experiment) for stage in graph],
        resources={
            "store": StoreResource(),
            "compute": ComputeResource.of(experiment.compute),
            "consent": ConsentResource(),
            "tracking": TrackingResource(**experiment.tracking.model_dump()),
        },
        jobs=jobs(graph),
        schedules=schedules(graph),
        sensors=[source_sensor(graph)],
        loggers={"console": console_logger},
        # One step at a time in one process: a stage uses all cores, or all accelerators, by itself.
        executor=dg.in_process_executor,
    )
