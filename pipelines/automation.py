"""Jobs, schedules and the sensor. Each may run as often as it likes: what has not changed is a hit."""

from typing import Any

import dagster as dg

from llm_core.graph.execute import look_up
from llm_core.graph.graph import Graph
from llm_core.graph.identity import digest_of
from llm_core.registry import load_object
from llm_core.store.home import pedigree_home
from llm_core.store.store import Store
from pipelines.planner import open_planner


def _job_name(graph: Graph, what: str) -> str:
    return f"{graph.experiment}_{what}"


def jobs(graph: Graph) -> list[Any]:
    """All of the graph; the data up to the shards; the evaluation with the report."""
    groups = dg.AssetSelection.groups
    described = {
        "everything": (dg.AssetSelection.all(), "From raw documents to the training report."),
        "data": (groups("data", "tokens"), "From raw documents to token shards and the data report."),
        "evals": (groups("evaluation", "release"), "Scores, samples, report and export of a model that is up to date."),
    }
    return [
        dg.define_asset_job(_job_name(graph, what), selection=selection, description=description)
        for what, (selection, description) in described.items()
    ]


def schedules(graph: Graph) -> list[dg.ScheduleDefinition]:
    """Evaluation every night, data every week. They are off until someone turns them on.

    The evaluation waits for a model of the data and the settings of now: to train one is a decision of its own.
    """

    @dg.schedule(name=_job_name(graph, "nightly_evals"), job_name=_job_name(graph, "evals"), cron_schedule="0 3 * * *")
    def nightly_evals() -> dg.RunRequest | dg.SkipReason:
        *_, model = open_planner(graph, Store(pedigree_home() / "store")).plan({"pretrained_model"})
        if model.verdict != "hit":
            return dg.SkipReason(f"the model is out of date ({'; '.join(model.reasons)}): train it first")
        return dg.RunRequest()

    return [
        nightly_evals,
        dg.ScheduleDefinition(
            name=_job_name(graph, "weekly_data"), job_name=_job_name(graph, "data"), cron_schedule="0 4 * * 0"
        ),
    ]


def source_sensor(graph: Graph) -> dg.SensorDefinition:
    """Starts the data job when a source has new or changed files."""
    stage = graph["raw_documents"]

    @dg.sensor(name=_job_name(graph, "new_sources"), job_name=_job_name(graph, "data"), minimum_interval_seconds=300)
    def new_sources(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        assert stage.externals is not None
        look_up(stage)
        now = digest_of(load_object(stage.externals)(**stage.config))
        if now == context.cursor:
            return dg.SkipReason("the sources are as they were")
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=now)], cursor=now)

    return new_sources
