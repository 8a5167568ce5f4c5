"""The clusters as a table: which document is kept in place of which others."""

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
"""A row per document in a cluster of two or more. ``similarity``: to the kept document; ``rule``: why it is dropped."""


def write_clusters(
    path: Path, clusters: Clusters, order: np.ndarray, doc_ids: np.ndarray, sources: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Write the clusters of two documents or more, in the order of the kept documents. Returns statistics."""
    sizes = np.bincount(clusters.representative, minlength=len(order))
    members = np.flatnonzero(sizes[clusters.representative] > 1)
    members = members[np.argsort(clusters.representative[members], kind="stable")]
    kept = clusters.representative[members]
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
