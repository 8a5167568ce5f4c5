"""The wrapper that turns a stage into a Dagster asset.

Dagster never skips a selected step, so the asset looks into the store itself. On a hit it reports the same data version
again, marked ``cache: hit``, and the stages after it find their own hits.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.experiment import Experiment
from llm_core.graph.code_digest import digest_of
from llm_core.graph.execute import Outcome, item_to_build, materialize
from llm_core.graph.graph import Graph, before
from llm_core.graph.job import Runtime
from llm_core.graph.plan import PlanItem, Planner
from llm_core.graph.price import duration
from llm_core.graph.requirements import check_requirements
from llm_core.graph.stage import Stage
from llm_core.store.store import Store
from pipelines.asset_page import kinds, metadata
from pipelines.planner import open_planner
from pipelines.progress import Lines, RunProgress
from pipelines.reported import forget
from pipelines.resources import ComputeResource, ConsentResource, StoreResource, TrackingResource

OBSERVED = (
    *("step", "loss", "validation_loss", "validation_bits_per_byte", "lr", "grad_norm"),
    *("tokens", "tokens_per_second", "mfu", "memory"),
)
OBSERVE_SECONDS = 5.0
REASONS_SHOWN = 3
EXPERIMENT_TAG = "pedigree/experiment"
"""Tag of every run: the name of its experiment."""


def asset_key(experiment: str, stage: str) -> dg.AssetKey:
    """The experiment is the prefix: ``tiny/token_shards``."""
    return dg.AssetKey([experiment, *stage.split("/")])


def as_asset(graph: Graph, stage: Stage, planner: Planner, experiment: Experiment) -> dg.AssetsDefinition:
    """The Dagster asset of one stage. Its owners and tags come from ``experiment``."""
    key = asset_key(graph.experiment, stage.name)

    @dg.asset(
        key=key,
        deps=[asset_key(graph.experiment, name) for name in before(stage)],
        group_name=stage.group,
        kinds=kinds(stage),
        owners=list(experiment.owners),
        tags=experiment.tags,
        description=stage.description,
        code_version=digest_of(planner.code(stage.name))[:12],
        check_specs=[
            # A closed gate is no reason for Dagster to skip a later stage, which may be a hit, or overruled.
            dg.AssetCheckSpec(name, asset=key, blocking=number < len(stage.blocking) and not graph.is_gate(stage.name))
            for number, name in enumerate(stage.checks)
        ],
    )
    def run(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        compute: ComputeResource,
        consent: ConsentResource,
        tracking: TrackingResource,
    ) -> dg.MaterializeResult:  # bare: Dagster does not know the generic form when checks are outputs too
        try:
            given = Runtime(compute=compute.spec(), tracking=tracking.spec(), agree=lambda _: consent.agreed)
            going = _going(context, graph, store.open(), given, experiment.tags)
            heading = going.progress.begin(stage.name)
            item = item_to_build(going.planner, stage.name)
            if item.verdict == "run":
                context.log.info(f"{heading}: to be made ({'; '.join(item.reasons[:REASONS_SHOWN])})")
            observed = _observer(context, key)
            with (
                _pipes(context, stage, item) as launched,
                Lines(going.progress, lambda line: context.log.info(f"  {line}")) as lines,
            ):

                def observe(metrics: Mapping[str, float]) -> None:
                    lines.observe(metrics)
                    observed(metrics)

                runtime = replace(
                    given,
                    progress=lines.count,
                    status=lines.status,
                    observe=observe,
                    log=lambda line: context.log.info(f"  {line}"),
                    **launched,
                )
                outcome = materialize(going.planner, stage.name, runtime, item=item)
        except (PedigreeError, ValidationError) as error:
            raise dg.Failure(description=str(error), allow_retries=False) from error
        going.progress.end()
        _tell(context, stage.name, outcome, going.progress)
        return _result(stage, outcome)

    return run


@dataclass(frozen=True)
class _Going:
    """The state of one Dagster run, whose steps are executed one after the other in one process."""

    planner: Planner
    progress: RunProgress


_GOING: dict[tuple[str, Path], _Going] = {}
"""The current run of this process, by run and store."""


def _going(
    context: dg.AssetExecutionContext, graph: Graph, store: Store, runtime: Runtime, tags: Mapping[str, str]
) -> _Going:
    """Before the first stage of a run: plan all its stages, check what they need, and give the run its tags."""
    question = (context.run.run_id, store.root)
    if question not in _GOING:
        steps = context.run.step_keys_to_execute
        names = {stage.name for stage in graph}
        if steps is not None:
            names = {name for name in names if "__".join(asset_key(graph.experiment, name).path) in steps}
        planner = open_planner(graph, store)
        items = [item for item in planner.plan(names) if item.stage in names]
        check_requirements(planner, items, runtime)
        progress = RunProgress(items)
        to_make = sum(item.verdict in ("run", "maybe") for item in items)
        context.log.info(f"{len(items)} stages, {to_make} to make; {progress.left()}")
        forget(graph, store)
        context.instance.add_run_tags(context.run.run_id, {EXPERIMENT_TAG: graph.experiment, **tags})
        _GOING.clear()
        _GOING[question] = _Going(planner, progress)
    return _GOING[question]


@contextmanager
def _pipes(context: dg.AssetExecutionContext, stage: Stage, item: PlanItem) -> Iterator[dict[str, Any]]:
    """For a training stage: a Pipes session, through which rank 0 of the trainer logs into this run."""
    if not stage.trains or item.verdict != "run":
        yield {}
        return
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesTempFileContextInjector(),
        message_reader=dg.PipesTempFileMessageReader(),
    ) as session:
        yield {"environment": session.get_bootstrap_env_vars(), "trainer_module": "assets.pipes_trainer"}


def _observer(context: dg.AssetExecutionContext, key: dg.AssetKey) -> Callable[[Mapping[str, float]], None]:
    """Reports live metrics as observations of the asset, at most one every ``OBSERVE_SECONDS``."""
    last = -OBSERVE_SECONDS

    def observe(metrics: Mapping[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last >= OBSERVE_SECONDS:
            last = time.monotonic()
            metadata = {name: metrics[name] for name in OBSERVED if metrics.get(name) is not None}
            context.log_event(dg.AssetObservation(asset_key=key, metadata=metadata))

    return observe


def _tell(context: dg.AssetExecutionContext, name: str, outcome: Outcome, progress: RunProgress) -> None:
    made = outcome.cache == "made"
    took = f" in {duration(outcome.artifact.manifest.seconds)}; {progress.left()}" if made else ""
    context.log.info(f"{progress.place} {outcome.cache} {name}{took}")
    if outcome.finding:
        context.log.error(outcome.finding)
    for check in outcome.checks:
        if not check.passed:
            context.log.warning(f"{progress.place} {name}: check {check.name} failed: {check.message}")


def _result(stage: Stage, outcome: Outcome) -> dg.MaterializeResult[Any]:
    return dg.MaterializeResult(
        data_version=dg.DataVersion(outcome.artifact.manifest.content),
        metadata=metadata(stage, outcome),
        check_results=[
            dg.AssetCheckResult(
                check_name=check.name,
                passed=check.passed,
                severity=dg.AssetCheckSeverity.ERROR if check.blocking else dg.AssetCheckSeverity.WARN,
                description=check.message,
                metadata={
                    name: float(value)
                    for name, value in (("value", check.value), ("bound", check.bound))
                    if value is not None
                },
            )
            for check in outcome.checks
        ],
    )
