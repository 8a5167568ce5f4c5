"""The one wrapper that turns a stage into a Dagster asset.

Dagster never skips a selected step, so the asset looks into the store itself: on a hit it emits the same data version
again, marked ``cache: hit``, and what follows finds its own hit.
"""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import dagster as dg
from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.graph.code_digest import digest_of
from llm_core.graph.execute import Outcome, materialize
from llm_core.graph.graph import Graph
from llm_core.graph.job import Runtime
from llm_core.graph.plan import Planner
from llm_core.graph.stage import Stage
from pipelines.planner import open_planner
from pipelines.resources import ComputeResource, ConsentResource, StoreResource, TrackingResource

OBSERVED = ("step", "loss", "validation_loss", "lr", "grad_norm", "tokens", "tokens_per_second", "mfu", "memory")
OBSERVE_SECONDS = 5.0
LOG_SECONDS = 10.0
LARGEST_FIGURE = 100_000
"""Bytes. Figures in metadata live in Dagster's event log, which is no place for large ones."""


def asset_key(experiment: str, stage: str) -> dg.AssetKey:
    """The experiment is the prefix: ``tiny/token_shards``."""
    return dg.AssetKey([experiment, *stage.split("/")])


def as_asset(graph: Graph, stage: Stage, planner: Planner) -> dg.AssetsDefinition:
    """The Dagster asset of one stage."""
    key = asset_key(graph.experiment, stage.name)

    @dg.asset(
        key=key,
        deps=[asset_key(graph.experiment, name) for name in dict.fromkeys(stage.inputs.values())],
        group_name=stage.group,
        description=stage.description,
        code_version=digest_of(planner.code(stage.name))[:12],
        check_specs=[
            *(dg.AssetCheckSpec(name, asset=key, blocking=True) for name in stage.gates),
            *(dg.AssetCheckSpec(name, asset=key) for name in stage.advice),
        ],
    )
    def run(
        context: dg.AssetExecutionContext,
        store: StoreResource,
        compute: ComputeResource,
        consent: ConsentResource,
        tracking: TrackingResource,
    ) -> dg.MaterializeResult:  # bare: Dagster does not know the generic form when checks are outputs too
        with _pipes(context, stage) as launched:
            try:
                runtime = Runtime(
                    compute=compute.spec(),
                    tracking=tracking.spec(),
                    progress=_progress_log(context),
                    observe=_observer(context, key),
                    log=context.log.info,
                    agree=lambda _: consent.yes,
                    **launched,
                )
                outcome = materialize(open_planner(graph, store.open()), stage.name, runtime)
            except (PedigreeError, ValidationError) as error:
                raise dg.Failure(description=str(error), allow_retries=False) from error
        _tell(context, outcome)
        return _result(stage, outcome)

    return run


@contextmanager
def _pipes(context: dg.AssetExecutionContext, stage: Stage) -> Iterator[dict[str, Any]]:
    """For a stage that trains: a Pipes session, over which rank 0 of the trainer logs into this run."""
    if not stage.trains:
        with nullcontext():
            yield {}
        return
    with dg.open_pipes_session(
        context=context,
        context_injector=dg.PipesTempFileContextInjector(),
        message_reader=dg.PipesTempFileMessageReader(),
    ) as session:
        yield {"environment": session.get_bootstrap_env_vars(), "trainer_module": "assets.pipes_trainer"}


def _observer(context: dg.AssetExecutionContext, key: dg.AssetKey) -> Callable[[Mapping[str, float]], None]:
    """Live figures as observations of the asset, at most one every few seconds."""
    last = -OBSERVE_SECONDS

    def observe(figures: Mapping[str, float]) -> None:
        nonlocal last
        if time.monotonic() - last >= OBSERVE_SECONDS:
            last = time.monotonic()
            metadata = {name: figures[name] for name in OBSERVED if figures.get(name) is not None}
            context.log_event(dg.AssetObservation(asset_key=key, metadata=metadata))

    return observe


def _progress_log(context: dg.AssetExecutionContext) -> Callable[[float, float, str], None]:
    last = time.monotonic()

    def progress(done: float, total: float, unit: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic()
            context.log.info(f"{done:,.0f} of {total:,.0f} {unit}")

    return progress


def _tell(context: dg.AssetExecutionContext, outcome: Outcome) -> None:
    took = f" in {outcome.artifact.manifest.seconds:.1f} s" if outcome.cache == "made" else ""
    context.log.info(f"{outcome.cache}{took}: {outcome.artifact.path}")
    if outcome.finding:
        context.log.error(outcome.finding)
    for check in outcome.checks:
        if not check.passed:
            context.log.warning(f"check {check.name} failed: {check.message}")


def _result(stage: Stage, outcome: Outcome) -> dg.MaterializeResult[Any]:
    manifest = outcome.artifact.manifest
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.content),
        metadata={
            "cache": outcome.cache,
            "path": dg.MetadataValue.path(str(outcome.artifact.path)),
            "identity": manifest.identity,
            "seconds": manifest.seconds,
            "bytes": sum(record.size for record in manifest.files),
            **_figures(outcome),
            **_stats(outcome.artifact.stats),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=check.name,
                passed=check.passed,
                severity=dg.AssetCheckSeverity.ERROR if check.name in stage.gates else dg.AssetCheckSeverity.WARN,
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


def _stats(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics as metadata: plain figures as they are, tables as JSON."""
    plain = {name: value for name, value in stats.items() if isinstance(value, int | float | str | bool)}
    tables = {name: value for name, value in stats.items() if isinstance(value, dict | list) and name != "figures"}
    return {**plain, **{name: dg.MetadataValue.json(value) for name, value in tables.items()}}


def _figures(outcome: Outcome) -> dict[str, dg.MetadataValue[Any]]:
    """The small pictures among the artifact's files, which the UI shows as Markdown."""
    shown: dict[str, dg.MetadataValue[Any]] = {}
    for name, path in outcome.artifact.stats.get("figures", {}).items():
        data = (outcome.artifact.path / path).read_bytes()
        if len(data) <= LARGEST_FIGURE:
            encoded = base64.b64encode(data).decode()
            shown[name] = dg.MetadataValue.md(f"![{name}](data:image/png;base64,{encoded})")
    return shown
