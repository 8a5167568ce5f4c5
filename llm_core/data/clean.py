"""Normalised text that passes the quality rules; every drop is kept with its rule and value."""

from collections import Counter
from typing import Any

import polars as pl

from llm_core.data.normalise import normalised
from llm_core.data.parts import DOCUMENT, part_paths, read_parts, write_part
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check
from llm_core.registries import RULES

EMPTY = "empty"
"""The rule behind all rules: nothing is left after normalising."""


def build(job: Job, cleaning: CleaningSpec) -> dict[str, Any]:
    """Every part of the input becomes the part of the same number in ``parts/`` and ``dropped/``."""
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    drops: Counter[str] = Counter(dict.fromkeys((EMPTY, *cleaning.rules), 0))
    changed = 0
    total = len(part_paths(job.path("documents", "parts")))
    for number, (name, frame) in enumerate(read_parts(job.path("documents", "parts"))):
        job.runtime.progress(number, total, "parts")
        judged = judge(frame, cleaning)
        kept = judged.filter(pl.col("rule").is_null()).select(*DOCUMENT)
        dropped = judged.filter(pl.col("rule").is_not_null())
        write_part(job.out / "parts" / name, kept)
        write_part(job.out / "dropped" / name, dropped)
        changed += int((judged["text"] != frame["text"]).sum())
        drops.update(dict(dropped["rule"].value_counts().iter_rows()))
        for counter, part in ((before, frame), (after, kept)):
            counter.update(documents=part.height, bytes=int(part["text"].str.len_bytes().sum()))
    job.runtime.progress(total, total, "parts")
    return {
        "documents_in": before["documents"],
        "bytes_in": before["bytes"],
        "documents": after["documents"],
        "bytes": after["bytes"],
        "normalising_changed": changed,
        "dropped": drops.total(),
        "drop_share": drops.total() / before["documents"] if before["documents"] else 0.0,
        "dropped_by_rule": dict(drops),
    }


def judge(frame: pl.DataFrame, cleaning: CleaningSpec) -> pl.DataFrame:
    """``frame`` with normalised text, and columns ``rule`` and ``value``: the first rule that fails, or null."""
    values = {name: RULES.load(name)().cast(pl.Float64).alias(f"value of {name}") for name in cleaning.rules}
    rule, value = pl.lit(None, pl.String), pl.lit(None, pl.Float64)
    for name, bounds in reversed(cleaning.rules.items()):
        found = pl.col(f"value of {name}")
        fails = pl.lit(value=False)
        if bounds.min is not None:
            fails |= found < bounds.min
        if bounds.max is not None:
            fails |= found > bounds.max
        rule, value = pl.when(fails).then(pl.lit(name)).otherwise(rule), pl.when(fails).then(found).otherwise(value)
    empty = pl.col("text") == ""
    rule, value = pl.when(empty).then(pl.lit(EMPTY)).otherwise(rule), pl.when(empty).then(0.0).otherwise(value)
    judged = frame.lazy().with_columns(normalised(cleaning)).with_columns(values.values())
    return judged.select(*DOCUMENT, rule=rule, value=value).collect()


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:
    """Something is left, and not too much was dropped."""
    share, worst = stats["drop_share"], max(stats["dropped_by_rule"].items(), key=lambda item: item[1])
    return [
        Check(
            "not_empty",
            stats["documents"] > 0,
            f"{stats['documents']} documents are left",
            value=stats["documents"],
            bound=1,
        ),
        Check(
            "drop_share",
            share <= bounds.max_drop_share,
            f"{share:.1%} of {stats['documents_in']} documents dropped, most by {worst[0]} ({worst[1]}); "
            f"at most {bounds.max_drop_share:.0%} may be",
            value=share,
            bound=bounds.max_drop_share,
        ),
    ]
