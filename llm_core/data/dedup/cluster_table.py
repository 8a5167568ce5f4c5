"""The clusters as a table for people: who stands for whom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.dedup.clusters import Clusters
from llm_core.data.dedup.signatures import doc_id_texts
from llm_core.data.dedup.verdicts import RULES
from llm_core.data.parquet_parts import write_part

CLUSTER = {
    "cluster": pl.Int64,
    "doc_id": pl.String,
    "source": pl.String,
    "kept": pl.Boolean,
    "size": pl.Int64,
    "similarity": pl.Float64,
    "rule": pl.String,
}
"""A document of a cluster of two or more. ``similarity``: to the one that is ``kept``; ``rule``: why it is not."""


def write_clusters(
    path: Path, clusters: Clusters, order: np.ndarray, doc_ids: np.ndarray, sources: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Write the clusters of two documents or more, in the order of what stays; figures about them."""
    sizes = np.bincount(clusters.kept, minlength=len(order))
    members = np.flatnonzero(sizes[clusters.kept] > 1)
    members = members[np.argsort(clusters.kept[members], kind="stable")]
    kept = clusters.kept[members]
    begins = np.ones(len(members), dtype=bool)
    begins[1:] = kept[1:] != kept[:-1]
    number = np.cumsum(begins) - 1
    stays = kept == members
    names_of_rules = pl.Series([*RULES[:2], None], dtype=pl.String)
    of = sources[order[members]]
    frame = pl.DataFrame(
        {
            "cluster": number,
            "doc_id": doc_id_texts(doc_ids[order[members]]),
            "source": pl.Series(names, dtype=pl.String).gather(of),
            "kept": stays,
            "size": sizes[kept],
            "similarity": clusters.similarity[members],
            "rule": names_of_rules.gather(np.where(stays, 2, ~clusters.exact[members])),
        },
        schema=CLUSTER,
    )
    write_part(path, frame)
    several = len(np.unique(number[of != of[begins][number]]))
    return {
        "clusters": int(begins.sum()),
        "clusters_across_sources": several,
        "largest_cluster": int(sizes.max(initial=0)),
    }
