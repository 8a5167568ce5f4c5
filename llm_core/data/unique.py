"""Deduplication: of equal and nearly equal documents, one is kept, by an order that the experiment sets."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llm_core.data.cleaning_samples import join_samples
from llm_core.data.dedup.cluster_table import write_clusters
from llm_core.data.dedup.clusters import find_clusters, first_of_equals, read_field
from llm_core.data.dedup.ranking import ranked
from llm_core.data.dedup.repeated_units import find_repeats, units_part
from llm_core.data.dedup.selection import select_and_cut_part, select_part
from llm_core.data.dedup.signatures import PAIR, read_signatures, sign_part
from llm_core.data.dedup.verdicts import RULES, write_verdicts
from llm_core.data.funnel import joined, totals
from llm_core.data.results import UniqueDocuments
from llm_core.experiment.dedup import DedupSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask
from llm_core.graph.stage import Verdict


def parts(inputs: Mapping[str, Sequence[InputFile]], dedup: DedupSpec) -> list[PartTask]:
    """The tasks of the first map: the signatures of every part. They depend on its documents and ``minhash`` only."""
    return [
        PartTask(file.stem, sign_part, {"documents": file}, {"minhash": dedup.minhash})
        for file in inputs["documents"]
        if file.name.startswith("parts/")
    ]


def build(job: Job, dedup: DedupSpec) -> UniqueDocuments:
    """Compute signatures part by part, then clusters over all parts; then drop all but one document per cluster.

    ``clusters.parquet`` lists all clusters of two documents or more.
    """
    tasks = parts(job.files(), dedup)
    made = job.map(tasks, link=False)
    signatures = [InputFile(part.files[0].path, part.folder / part.files[0].path, part.files[0].xxh3) for part in made]
    paths = [file.path for file in signatures]
    documents = [task.inputs["documents"] for task in tasks]
    sizes = read_field(paths, "bytes", np.uint32)
    order, sources, names = ranked([file.path for file in documents], sizes, dedup)
    clusters = find_clusters(paths, order, dedup, job.work / "scratch")
    doc_ids = read_field(paths, "doc_id", PAIR)
    cluster_stats = write_clusters(job.out / "clusters.parquet", clusters, order, doc_ids, sources, names)
    counts = [len(read_signatures(path)) for path in paths]
    verdicts = write_verdicts(job.work / "verdicts", clusters, order, doc_ids, counts)
    roles = [
        {"documents": file, "signatures": signs, "verdict": verdict}
        for file, signs, verdict in zip(documents, signatures, verdicts, strict=True)
    ]
    selected = job.map(_selection(job, roles, order, counts, dedup))
    join_samples(job.out)
    stats = totals(joined(part.stats["funnel"] for part in selected), RULES)
    return UniqueDocuments(
        **stats,
        duplicate_share=stats["dropped"] / stats["documents_in"] if stats["documents_in"] else 0.0,
        repeated_doc_ids=int((first_of_equals(doc_ids) != np.arange(len(doc_ids))).sum()),
        repeated_units={
            figure: sum(part.stats["repeated_units"][figure] for part in selected)
            for figure in ("documents", "units", "bytes")
        },
        **cluster_stats,
    )


def _selection(
    job: Job, roles: Sequence[dict[str, InputFile]], order: np.ndarray, counts: Sequence[int], dedup: DedupSpec
) -> list[PartTask]:
    """The tasks of the last map. Repeated units are searched first, if the experiment asks for it."""
    names = [role["documents"].stem for role in roles]
    if dedup.repeated_units is None:
        return [PartTask(name, select_part, role) for name, role in zip(names, roles, strict=True)]
    config: dict[str, Any] = {"repeated_units": dedup.repeated_units}
    found = job.map(
        [
            PartTask(name, units_part, {"documents": role["documents"], "verdict": role["verdict"]}, config)
            for name, role in zip(names, roles, strict=True)
        ],
        link=False,
    )
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    by_part = np.split(ranks, np.cumsum(counts)[:-1])
    repeats = find_repeats([part.folder / part.files[0].path for part in found], by_part, job.work / "repeats")
    config["minhash"] = dedup.minhash
    return [
        PartTask(name, select_and_cut_part, {**role, "repeats": repeat}, config)
        for name, role, repeat in zip(names, roles, repeats, strict=True)
    ]


def duplicate_share(results: UniqueDocuments, bounds: ChecksSpec) -> Verdict:
    """The share of repeated documents is within its bound."""
    share = results.duplicate_share
    return Verdict(
        share <= bounds.max_duplicate_share,
        f"{share:.1%} of {results.documents_in} documents are repeats, in {results.clusters} clusters "
        f"({results.clusters_across_sources} across sources); at most {bounds.max_duplicate_share:.0%} may be",
        value=share,
        bound=bounds.max_duplicate_share,
    )


def largest_cluster(results: UniqueDocuments, bounds: ChecksSpec) -> Verdict:
    """The largest cluster is a small share of the corpus."""
    largest = results.largest_cluster / max(1, results.documents_in)
    return Verdict(
        largest <= bounds.max_cluster_share,
        f"the largest cluster has {results.largest_cluster} documents, {largest:.1%} of all; at most "
        f"{bounds.max_cluster_share:.0%} may be: look at it in clusters.parquet",
        value=largest,
        bound=bounds.max_cluster_share,
    )
