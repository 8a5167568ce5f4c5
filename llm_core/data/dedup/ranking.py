"""The order of all documents that decides which document of a cluster is kept: the first one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llm_core.data.parquet_parts import read_part
from llm_core.experiment.dedup import DedupSpec


def ranked(paths: Sequence[Path], sizes: np.ndarray, dedup: DedupSpec) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(order, source numbers, source names). ``order`` (int64 [n]) sorts the documents of the parts at ``paths`` by
    ``prefer``, ``keep``, source, origin and row. Documents are numbered over all parts.

    ``sizes``: bytes of every document. Takes about 40 bytes of memory per document, and every origin's name once.
    """
    numbers: dict[tuple[str, str], int] = {}
    origins, rows = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
    for path in paths:
        frame = read_part(path, ["source", "origin", "row"])
        named = (numbers.setdefault(place, len(numbers)) for place in frame.select("source", "origin").iter_rows())
        origins.append(np.fromiter(named, np.int32, count=frame.height))
        rows.append(frame["row"].to_numpy())
    names = list(numbers)
    sources = sorted({source for source, _ in names})
    places = {source: place for place, source in enumerate(dedup.prefer)}
    standing = sorted(range(len(names)), key=lambda number: (places.get(names[number][0], len(places)), names[number]))
    ranks = np.empty(len(names), dtype=np.int32)
    ranks[standing] = np.arange(len(names))
    preferences = np.array([places.get(source, len(places)) for source, _ in names], dtype=np.int32)
    origin = np.concatenate(origins)
    keys: list[np.ndarray] = [np.concatenate(rows), ranks[origin]]
    if dedup.keep == "longest":
        keys += [-sizes.astype(np.int64), preferences[origin]]
    by_number = np.array([sources.index(source) for source, _ in names], dtype=np.int32)
    return np.lexsort(keys), by_number[origin], sources
