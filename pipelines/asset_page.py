"""What Dagster shows on the page of an asset: badges, tables, pictures, and the path of its report."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from assets.release import PAGES
from llm_core.graph.execute import Outcome
from llm_core.graph.stage import Stage

LARGEST_PICTURE = 100_000
"""Bytes. Metadata is stored in Dagster's event log, which should not contain large pictures."""

_KINDS = {
    "data": {"polars", "parquet"},
    "tokens": {"tokenizers"},
    "study": {"numpy", "scipy"},
    "evaluation": {"pytorch"},
    "optimizations": {"pytorch"},
    "release": {"huggingface"},
}
"""Group → the tools and formats of its stages."""


def kinds(stage: Stage) -> set[str]:
    """The badges of an asset."""
    if stage.trains:
        return {"pytorch"}
    return {"report"} if stage.rebuild_when_damaged else _KINDS.get(stage.group, set())


def metadata(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    """The metadata of a materialization: the path of the artifact, its statistics and pictures."""
    manifest, path = outcome.artifact.manifest, outcome.artifact.path
    page = {"report": dg.MetadataValue.path(str(path / PAGES[stage.name]))} if stage.name in PAGES else {}
    return {
        **page,
        "cache": outcome.cache,
        "path": dg.MetadataValue.path(str(path)),
        "identity": manifest.identity,
        "seconds": manifest.seconds,
        "bytes": sum(record.size for record in manifest.files),
        **{name: _picture(name, data) for name, data in _pictures(stage, outcome) if len(data) <= LARGEST_PICTURE},
        **{f"gate {record.stage}": str(record) for record in manifest.gates},
        **_stats(outcome.artifact.stats),
    }


def _stats(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics as metadata: single values as they are, tables as JSON."""
    plain = {name: value for name, value in stats.items() if isinstance(value, int | float | str | bool)}
    tables = {name: value for name, value in stats.items() if isinstance(value, dict | list) and name != "figures"}
    return {**plain, **{name: dg.MetadataValue.json(value) for name, value in tables.items()}}


def _pictures(stage: Stage, outcome: Outcome) -> Iterator[tuple[str, bytes]]:
    """Name and PNG of each picture in an artifact, and of the loss curve of a training run."""
    for name, file in outcome.artifact.stats.get("figures", {}).items():
        yield name, (outcome.artifact.path / file).read_bytes()
    if stage.trains:
        # Imported late: a code location loads faster without what draws.
        from llm_core.report import training_plots
        from llm_core.train.metrics_log import METRICS, read_metrics

        metrics = outcome.artifact.path / METRICS
        if metrics.is_file():  # or else it was damaged, and put aside
            yield "loss_curve", training_plots.loss(read_metrics(metrics)).png


def _picture(name: str, data: bytes) -> dg.MetadataValue[Any]:
    """A picture that the UI shows as Markdown."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(data).decode()})")
