"""Jobs, schedules and the sensor. Running one again is cheap: unchanged stages are hits."""

import json
import math
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import dagster as dg

from llm_core.errors import PedigreeError
from llm_core.graph.execute import look_up
from llm_core.graph.graph import Graph
from llm_core.graph.identity import digest_of
from llm_core.registry import load_object
from llm_core.store.home import pedigree_home
from llm_core.store.store import Store
from pipelines.as_asset import asset_key
from pipelines.planner import open_planner

DATA_GROUPS, DATA_REPORT = ("data", "tokens"), "data_report"
"""The stages of the data job: these groups, and their report."""

SOURCES_TAG = "pedigree/sources"
"""Tag of a run that the sensor started: the state of the sources, and when it was first seen."""

RETRY_AFTER = (600.0, 3600.0, 6 * 3600.0)
"""Seconds that the sensor waits after a failed run for the same sources: after the first, second and third."""


def _job_name(graph: Graph, what: str) -> str:
    return f"{graph.experiment}_{what}"


def jobs(graph: Graph) -> list[Any]:
    """Three jobs: all stages; the data stages up to the shards; the evaluation and its report."""
    groups, report = dg.AssetSelection.groups, dg.AssetSelection.assets(asset_key(graph.experiment, DATA_REPORT))
    described = {
        "everything": (dg.AssetSelection.all(), "From raw documents to the training report."),
        "data": (groups(*DATA_GROUPS) | report, "From raw documents to token shards and the data report."),
        "evals": (
            groups("evaluation", "release") - report,
            "Scores, samples, report and export of a model that is up to date.",
        ),
    }
    return [
        dg.define_asset_job(_job_name(graph, what), selection=selection, description=description)
        for what, (selection, description) in described.items()
    ]


def schedules(graph: Graph) -> list[dg.ScheduleDefinition]:
    """Evaluation every night, data every week. They are off until a user turns them on.

    The evaluation is skipped while the model is not up to date. It never trains one.
    """

    @dg.schedule(name=_job_name(graph, "nightly_evals"), job_name=_job_name(graph, "evals"), cron_schedule="0 3 * * *")
    def nightly_evals() -> dg.RunRequest | dg.SkipReason:
        scored = graph["eval_results"].inputs["model"]
        *_, model = open_planner(graph, Store(pedigree_home() / "store")).look(scored)
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
    """Starts the data job when the sources have new or changed files, and again after a failure.

    The cursor contains the state of the sources and when it was first seen; runs have both as a tag. There is no
    ``run_key``, because Dagster remembers it for ever: a state that failed, or came back, would never run again.
    """
    job, data = _job_name(graph, "data"), {stage.name for stage in graph if stage.group in DATA_GROUPS}
    data.add(DATA_REPORT)
    stage = graph["raw_documents"]

    @dg.sensor(name=_job_name(graph, "new_sources"), job_name=job, minimum_interval_seconds=300)
    def new_sources(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen = _Seen.read(context.cursor)
        try:
            assert stage.source_digests is not None
            look_up(stage)
            state = digest_of(load_object(stage.source_digests)(**stage.config))
            if state != seen.state:
                seen = _Seen(state, time.time_ns())
            elif seen.made:
                return dg.SensorResult(skip_reason="the sources have not changed", cursor=seen.written())
            else:
                wait = _not_now(context.instance, job, seen.tag)
                if wait:
                    return dg.SensorResult(skip_reason=wait, cursor=seen.written())
            plan = open_planner(graph, Store(pedigree_home() / "store")).plan(data)
        except PedigreeError as error:
            return dg.SensorResult(skip_reason=f"the sources can't be read: {error}")
        if all(item.verdict == "hit" for item in plan if item.stage in data):
            seen = replace(seen, made=True)
            return dg.SensorResult(
                skip_reason="all documents of the sources are processed already", cursor=seen.written()
            )
        return dg.SensorResult(run_requests=[dg.RunRequest(tags={SOURCES_TAG: seen.tag})], cursor=seen.written())

    return new_sources


@dataclass(frozen=True)
class _Seen:
    """What the sensor remembers: the digest of the sources, when it was first seen (ns), and whether all is made."""

    state: str
    since: int = 0
    made: bool = False

    @property
    def tag(self) -> str:
        return f"{self.state[:16]}-{self.since}"

    def written(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, cursor: str | None) -> "_Seen":
        try:
            return cls(**json.loads(cursor or ""))
        except (ValueError, TypeError):
            return cls("")  # the first call, or a cursor of another format: the sources count as new


def _not_now(instance: dg.DagsterInstance, job: str, tag: str) -> str | None:
    """Why no run is to start for this state of the sources now; None if one is."""
    records = instance.get_run_records(dg.RunsFilter(job_name=job, tags={SOURCES_TAG: tag}))
    if not records:
        return None
    last = records[0]
    run, status = f"run {last.dagster_run.run_id[:8]}", last.dagster_run.status
    if status == dg.DagsterRunStatus.SUCCESS:
        return "the sources have not changed"
    if status == dg.DagsterRunStatus.CANCELED:
        return f"{run} for these sources was cancelled; start the job {job} by hand"
    if status != dg.DagsterRunStatus.FAILURE:
        return f"{run} is processing these sources"
    if len(records) > len(RETRY_AFTER):
        return f"{run} and {len(records) - 1} runs before it failed; look at it, and start the job {job} by hand"
    ended = last.end_time or last.update_timestamp.timestamp()
    left = ended + RETRY_AFTER[len(records) - 1] - time.time()
    return f"{run} for these sources failed; the next try is in {math.ceil(left / 60)} min" if left > 0 else None
