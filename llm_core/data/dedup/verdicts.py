"""The dropped documents of every part, in a small file per part. The selection of a part depends on its file only."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from llm_core.data.dedup.clusters import Clusters
from llm_core.data.dedup.signatures import PAIR
from llm_core.graph.part import InputFile
from llm_core.store.digests import file_digest

RULES = ("exact_duplicate", "near_duplicate", "repeated_units")
"""The last rule drops documents that consist of repeated units only."""

VERDICT = np.dtype([("place", "<u4"), ("rule", "u1"), ("value", "<f8"), ("kept", PAIR)])
"""A dropped document: its place in the part, the number of the rule, its value (size of the cluster, similarity, or
number of units), and the ``doc_id`` of the document that is kept in its place."""


def write_verdicts(
    folder: Path, clusters: Clusters, order: np.ndarray, doc_ids: np.ndarray, counts: Sequence[int]
) -> list[InputFile]:
    """Write a small file per part with its dropped documents. A part is built again only if its file changes."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = np.bincount(clusters.representative, minlength=len(order))
    dropped = np.flatnonzero(clusters.representative != np.arange(len(order)))
    rows = np.zeros(len(dropped), dtype=VERDICT)
    kept, exact = clusters.representative[dropped], clusters.exact[dropped]
    rows["rule"] = ~exact
    rows["value"] = np.where(exact, sizes[kept], clusters.similarity[dropped])
    rows["kept"] = doc_ids[order[kept]]
    numbers = order[dropped]
    by_number = np.argsort(numbers)
    rows, numbers = rows[by_number], numbers[by_number]
    starts = np.concatenate([[0], np.cumsum(counts)])
    files = []
    for index, (start, stop) in enumerate(pairwise(starts.tolist())):
        first, last = np.searchsorted(numbers, (start, stop))
        own = rows[first:last].copy()
        own["place"] = numbers[first:last] - start
        path = folder / f"{index:06d}.npy"
        np.save(path, own)
        files.append(InputFile(path.name, path, file_digest(path)))
    return files
