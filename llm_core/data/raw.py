"""Documents as their sources hold them; records that can't be documents are set aside with their position."""

import shutil
from collections import Counter
from typing import Any

import polars as pl

from llm_core.data.parts import DOCUMENT, PartWriter
from llm_core.data.records import BadRecord, document_id
from llm_core.errors import PedigreeError
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.sources import RawSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check
from llm_core.registries import SOURCES

BAD_RECORD = {"source": pl.String, "origin": pl.String, "row": pl.Int64, "reason": pl.String, "excerpt": pl.String}

NOTABLE_BAD_SHARE = 0.001
"""Above it a check warns; ``RawSpec.max_bad_share`` is where the stage stops."""

_BAD_PER_PART = 50_000
_OFFENDERS_NAMED = 3


def externals(raw: RawSpec) -> dict[str, str]:
    """What the sources read from outside the store, by name; raises ``PedigreeError`` when something is missing."""
    return {
        f"{source.name}/{name}": digest
        for source in raw.sources
        for name, digest in SOURCES.load(source.kind)(source).externals().items()
    }


def build(job: Job, raw: RawSpec) -> dict[str, Any]:
    """Read every source into ``parts/``, and what is bad into ``bad_records.parquet``.

    Raises ``PedigreeError`` for a source without a document, and when more than ``max_bad_share`` of all records are
    bad.
    """
    scratch = job.work / "bad"
    shutil.rmtree(scratch, ignore_errors=True)
    parts = PartWriter(job.out / "parts", DOCUMENT, raw.documents_per_part)
    bad = PartWriter(scratch, BAD_RECORD, _BAD_PER_PART)
    documents: Counter[str] = Counter({source.name: 0 for source in raw.sources})
    sizes: Counter[str] = Counter({source.name: 0 for source in raw.sources})
    reasons: Counter[str] = Counter()
    offenders: list[str] = []
    for source in raw.sources:
        for record in SOURCES.load(source.kind)(source).records(job.runtime.progress):
            if isinstance(record, BadRecord):
                bad.add((source.name, *record), len(record.excerpt))
                reasons[record.reason] += 1
                if len(offenders) < _OFFENDERS_NAMED:
                    offenders.append(
                        f"  {source.name}/{record.origin}, row {record.row}: {record.reason}: {record.excerpt}"
                    )
            else:
                size = len(record.text.encode())
                identity = document_id(source.name, record.origin, record.row)
                parts.add((identity, record.text, source.name, record.origin, record.row, None), size)
                documents[source.name] += 1
                sizes[source.name] += size
    parts.flush()
    bad.flush()
    _stop_if_bad(raw, documents.total(), reasons, offenders)
    for name, count in documents.items():
        if not count:
            raise PedigreeError(f"source {name!r}: holds no documents; mend the source or take it out of raw.sources")
    frames = pl.scan_parquet(sorted(scratch.glob("*.parquet")), glob=False)
    frames.sink_parquet(job.out / "bad_records.parquet", compression="zstd", row_group_size=_BAD_PER_PART)
    return {
        "documents": documents.total(),
        "bytes": sizes.total(),
        "documents_by_source": dict(documents),
        "bytes_by_source": dict(sizes),
        "bad_records": reasons.total(),
        "bad_records_by_reason": dict(sorted(reasons.items())),
    }


def _stop_if_bad(raw: RawSpec, good: int, reasons: Counter[str], offenders: list[str]) -> None:
    bad = reasons.total()
    if bad and bad > raw.max_bad_share * (good + bad):
        counts = ", ".join(f"{reason} ({count})" for reason, count in sorted(reasons.items()))
        raise PedigreeError(
            f"raw: {bad} of {good + bad} records are bad, more than the share of {raw.max_bad_share} that is allowed: "
            f"{counts}. Mend the files, or raise raw.max_bad_share to set them aside. The first:\n"
            + "\n".join(offenders)
        )


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:  # noqa: ARG001
    """Every source gave documents, and hardly a record is bad."""
    least = min(stats["documents_by_source"].values())
    bad = stats["bad_records"]
    share = bad / (bad + stats["documents"]) if bad else 0.0
    return [
        Check(
            "not_empty",
            least > 0,
            f"{stats['documents']} documents; the smallest source has {least}",
            value=least,
            bound=1,
        ),
        Check(
            "bad_records",
            share <= NOTABLE_BAD_SHARE,
            f"{bad} records are set aside in bad_records.parquet: {stats['bad_records_by_reason']}",
            value=share,
            bound=NOTABLE_BAD_SHARE,
        ),
    ]
