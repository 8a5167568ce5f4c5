"""Each text once: of equal and nearly equal documents one stays, by an order that the experiment sets."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.dedup.clusters import Clusters, find_clusters, first_of_equals, read_field
from llm_core.data.dedup.ranking import ranked
from llm_core.data.dedup.signatures import (
    PAIR,
    doc_id_texts,
    read_signatures,
    sign_part,
    write_signatures,
)
from llm_core.data.funnel import funnel_of, joined, totals
from llm_core.data.parts import DOCUMENT, read_part, write_part
from llm_core.experiment.dedup import DedupSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Check
from llm_core.store.digests import file_digest
from llm_core.store.parts import link_or_copy

RULES = ("exact_duplicate", "near_duplicate")

_VERDICT = np.dtype([("place", "<u4"), ("rule", "u1"), ("value", "<f8"), ("kept", PAIR)])
_DROPPED = {**DOCUMENT, "rule": pl.String, "value": pl.Float64, "kept_doc_id": pl.String}
_CLUSTER = {
    "cluster": pl.Int64,
    "doc_id": pl.String,
    "source": pl.String,
    "kept": pl.Boolean,
    "size": pl.Int64,
    "similarity": pl.Float64,
    "rule": pl.String,
}


def parts(inputs: Mapping[str, Sequence[InputFile]], dedup: DedupSpec) -> list[PartTask]:
    """The first map: signatures of every part, which depend on its documents and on what a signature is alone."""
    return [
        PartTask(file.stem, sign_part, {"documents": file}, {"minhash": dedup.minhash})
        for file in inputs["documents"]
        if file.name.startswith("parts/")
    ]


def build(job: Job, dedup: DedupSpec) -> dict[str, Any]:
    """Signatures part by part, clusters over all of them, then every part without what another document stands for.

    ``clusters.parquet`` tells all clusters of two documents or more.
    """
    tasks = parts(job.files(), dedup)
    signed = job.map(tasks, link=False)
    signatures = [
        InputFile(part.files[0].path, part.folder / part.files[0].path, part.files[0].xxh3) for part in signed
    ]
    paths = [file.path for file in signatures]
    order, sources, names = ranked(
        [task.inputs["documents"].path for task in tasks], read_field(paths, "bytes", np.uint32), dedup
    )
    clusters = find_clusters(paths, order, dedup, job.work / "scratch")
    doc_ids = read_field(paths, "doc_id", PAIR)
    told = _tell(job.out / "clusters.parquet", clusters, order, doc_ids, sources, names)
    verdicts = _verdicts(
        job.work / "verdicts", clusters, order, doc_ids, [len(read_signatures(path)) for path in paths]
    )
    selected = job.map(
        [
            PartTask(
                task.name, select_part, {"documents": task.inputs["documents"], "signatures": signs, "verdict": verdict}
            )
            for task, signs, verdict in zip(tasks, signatures, verdicts, strict=True)
        ]
    )
    stats = totals(joined(part.stats["funnel"] for part in selected), RULES)
    return {
        **stats,
        "duplicate_share": stats["dropped"] / stats["documents_in"] if stats["documents_in"] else 0.0,
        "repeated_doc_ids": int((first_of_equals(doc_ids) != np.arange(len(doc_ids))).sum()),
        **told,
    }


def _verdicts(
    folder: Path, clusters: Clusters, order: np.ndarray, doc_ids: np.ndarray, counts: Sequence[int]
) -> list[InputFile]:
    """For every part a small file with the documents that it loses: a part whose verdict stays is not made again."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = np.bincount(clusters.kept, minlength=len(order))
    dropped = np.flatnonzero(clusters.kept != np.arange(len(order)))
    rows = np.zeros(len(dropped), dtype=_VERDICT)
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


def select_part(work: PartWork) -> dict[str, Any]:
    """What stays of a part in ``parts/`` with its rows in ``signatures/``, and what goes in ``dropped/``."""
    verdict, signatures = np.load(work.inputs["verdict"]), read_signatures(work.inputs["signatures"])
    target, signed = work.out / "parts" / f"{work.name}.parquet", work.out / "signatures" / f"{work.name}.npy"
    rules: list[str | None] = [None] * len(signatures)
    for place, rule in zip(verdict["place"].tolist(), verdict["rule"].tolist(), strict=True):
        rules[place] = RULES[rule]
    if len(verdict):
        frame = read_part(work.inputs["documents"])
        stays = np.ones(len(signatures), dtype=bool)
        stays[verdict["place"]] = False
        write_part(target, frame.filter(pl.Series(stays)))
        write_signatures(signed, signatures[stays])
        dropped = frame.filter(pl.Series(~stays)).with_columns(
            rule=pl.Series([RULES[rule] for rule in verdict["rule"]], dtype=pl.String),
            value=pl.Series(verdict["value"]),
            kept_doc_id=pl.Series(doc_id_texts(verdict["kept"]), dtype=pl.String),
        )
    else:  # nothing of it goes: the same files again
        frame = read_part(work.inputs["documents"], ["source"])
        for source, link in ((work.inputs["documents"], target), (work.inputs["signatures"], signed)):
            link.parent.mkdir(parents=True)
            link_or_copy(source, link)
        dropped = pl.DataFrame(schema=_DROPPED)
    write_part(work.out / "dropped" / f"{work.name}.parquet", dropped)
    return {"funnel": funnel_of(frame["source"], pl.Series(np.array(signatures["bytes"])), pl.Series(rules))}


def _tell(
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
    names_of_rules = pl.Series([*RULES, None], dtype=pl.String)
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
        schema=_CLUSTER,
    )
    write_part(path, frame)
    several = len(np.unique(number[of != of[begins][number]]))
    return {
        "clusters": int(begins.sum()),
        "clusters_across_sources": several,
        "largest_cluster": int(sizes.max(initial=0)),
    }


def checks(stats: dict[str, Any], bounds: ChecksSpec) -> list[Check]:
    """Something is left, not too much was repeated, no cluster swallows the corpus, and identities differ."""
    share, largest = stats["duplicate_share"], stats["largest_cluster"] / max(1, stats["documents_in"])
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
            f"{share:.1%} of {stats['documents_in']} documents are repeats, in {stats['clusters']} clusters "
            f"({stats['clusters_across_sources']} across sources); at most {bounds.max_duplicate_share:.0%} may be",
            value=share,
            bound=bounds.max_duplicate_share,
        ),
        Check(
            "largest_cluster",
            largest <= bounds.max_cluster_share,
            f"the largest cluster holds {stats['largest_cluster']} documents, {largest:.1%} of all; at most "
            f"{bounds.max_cluster_share:.0%} may be: look at it in clusters.parquet",
            value=largest,
            bound=bounds.max_cluster_share,
        ),
        Check(
            "doc_ids_differ",
            stats["repeated_doc_ids"] == 0,
            f"{stats['repeated_doc_ids']} documents repeat the doc_id of another",
            value=stats["repeated_doc_ids"],
            bound=0,
        ),
    ]
