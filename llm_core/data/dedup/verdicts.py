"""What becomes of the documents of a part: a small file for each, which the selection of that part depends on."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from llm_core.data.dedup.clusters import Clusters
from llm_core.data.dedup.signatures import PAIR
from llm_core.graph.part import InputFile
from llm_core.store.digests import file_digest

RULES = ("exact_duplicate", "near_duplicate", "repeated_units")
"""The last one is of documents of which nothing is left without the units that repeat."""

VERDICT = np.dtype([("place", "<u4"), ("rule", "u1"), ("value", "<f8"), ("kept", PAIR)])
"""A document that goes: its place in the part, the number of the rule, its value (documents of the cluster, similarity,
units), and the ``doc_id`` of the one that stays for it."""


def write_verdicts(
    folder: Path, clusters: Clusters, order: np.ndarray, doc_ids: np.ndarray, counts: Sequence[int]
) -> list[InputFile]:
    """For every part a small file with the documents that it loses: a part whose verdict stays is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = np.bincount(clusters.kept, minlength=len(order))
    dropped = np.flatnonzero(clusters.kept != np.arange(len(order)))
    rows = np.zeros(len(dropped), dtype=VERDICT)
    kept, exact = clusters.kept[dropped], clusters.exact[dropped]
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
