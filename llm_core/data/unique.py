"""Each text once: of equal folded texts the first in the order of source, origin and row stays."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.keys import KEY_DTYPE, key_hashes
from llm_core.data.parts import part_paths, read_parts, write_part
from llm_core.data.records import document_id
from llm_core.experiment.dedup import DedupSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Check

RULE = "duplicate"


def build(job: Job, dedup: DedupSpec) -> dict[str, Any]:
    """Every part of the input becomes the part of the same number in ``parts/`` and ``dropped/``.

    Two passes: hashes and places of all documents (32 bytes each), then the parts themselves.
    """
    folder = job.path("documents", "parts")
    total = len(part_paths(folder))
    places = _Places(folder)
    if dedup.method == "exact":
        kept, copies = places.first_of_equals()
    else:
        kept, copies = np.arange(len(places)), np.ones(len(places), dtype=np.int64)
    sizes: Counter[str] = Counter()
    by_source: Counter[str] = Counter()
    start = 0
    for number, (name, frame) in enumerate(read_parts(folder)):
        job.runtime.progress(number, total, "parts")
        stop = start + frame.height
        is_kept = pl.Series(kept[start:stop] == np.arange(start, stop))
        unique, dropped = frame.filter(is_kept), frame.filter(~is_kept)
        first = kept[start:stop][~is_kept.to_numpy()]
        write_part(job.out / "parts" / name, unique)
        write_part(
            job.out / "dropped" / name,
            dropped.with_columns(
                rule=pl.lit(RULE),
                value=pl.Series(copies[first].astype(np.float64)),
                kept_doc_id=pl.Series([places.doc_id(index) for index in first], dtype=pl.String),
            ),
        )
        by_source.update(dict(dropped["source"].value_counts().iter_rows()))
        sizes.update(documents=unique.height, bytes=int(unique["text"].str.len_bytes().sum()), dropped=dropped.height)
        start = stop
    job.runtime.progress(total, total, "parts")
    return {
        "documents_in": start,
        "documents": sizes["documents"],
        "bytes": sizes["bytes"],
        "dropped": sizes["dropped"],
        "duplicate_share": sizes["dropped"] / start if start else 0.0,
        "largest_group": int(copies.max(initial=0)),
        "dropped_by_source": dict(sorted(by_source.items())),
    }


class _Places:
    """Hash and place of every document, in the order of the parts: int64 arrays, and each origin's name once."""

    def __init__(self, folder: Path) -> None:
        numbers: dict[tuple[str, str], int] = {}
        hashes, origins, rows = [np.empty(0, KEY_DTYPE)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for _, frame in read_parts(folder):
            hashes.append(key_hashes(frame))
            named = (numbers.setdefault(place, len(numbers)) for place in frame.select("source", "origin").iter_rows())
            origins.append(np.fromiter(named, np.int64, count=frame.height))
            rows.append(frame["row"].to_numpy())
        self._names = list(numbers)
        self._hashes, self._origins, self._rows = np.concatenate(hashes), np.concatenate(origins), np.concatenate(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def doc_id(self, index: int) -> str:
        """The identity of the document at ``index``: it follows from its place."""
        source, origin = self._names[self._origins[index]]
        return document_id(source, origin, int(self._rows[index]))

    def first_of_equals(self) -> tuple[np.ndarray, np.ndarray]:
        """(for every document the index of the one that stays in its place, how many are equal to it); int64."""
        ranks = np.empty(len(self._names), dtype=np.int64)
        ranks[sorted(range(len(self._names)), key=self._names.__getitem__)] = np.arange(len(self._names))
        order = np.lexsort((self._rows, ranks[self._origins], self._hashes["low"], self._hashes["high"]))
        ordered = self._hashes[order]
        begins = np.ones(len(self), dtype=bool)
        begins[1:] = ordered[1:] != ordered[:-1]
        groups = np.cumsum(begins) - 1
        kept, copies = np.empty(len(self), dtype=np.int64), np.empty(len(self), dtype=np.int64)
        kept[order] = order[begins][groups]
        copies[order] = np.bincount(groups, minlength=1)[groups]
        return kept, copies


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:
    """Something is left, and not too much was repeated."""
    share = stats["duplicate_share"]
    return [
        Check(
            "not_empty",
            stats["documents"] > 0,
            f"{stats['documents']} documents are left",
            value=stats["documents"],
            bound=1,
        ),
        Check(
            "duplicate_share",
            share <= bounds.max_duplicate_share,
            f"{share:.1%} of {stats['documents_in']} documents are repeats (the most frequent text stands "
            f"{stats['largest_group']} times); at most {bounds.max_duplicate_share:.0%} may be",
            value=share,
            bound=bounds.max_duplicate_share,
        ),
    ]
