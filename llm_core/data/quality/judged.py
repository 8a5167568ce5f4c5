"""The stage that drops documents with a low quality score."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.cleaning_samples import Judged, join_samples, write_near_misses
from llm_core.data.funnel import funnel_of, joined, totals
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.quality.model import Classifier, read_quality
from llm_core.data.results import JudgedDocuments
from llm_core.experiment.cleaning import RuleSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Verdict
from llm_core.store.parts import link_or_copy

RULE = "quality"

BINS = 10
"""Bins of the histogram of scores, of equal width from 0 to 1."""

NOTABLE_DRIFT = 0.5
"""If the kept share differs from ``keep_share`` by a larger fraction of it, the documents are not like the examples."""

_CLASSIFIER = ("weights.npy", "quality.json")


def parts(inputs: Mapping[str, Sequence[InputFile]]) -> list[PartTask]:
    """One task for every part of the clean documents, once the classifier is trained. A task depends on its documents
    and the classifier."""
    model = {file.name: file for file in inputs["classifier"] if file.name in _CLASSIFIER}
    if len(model) < len(_CLASSIFIER):
        return []
    return [
        PartTask(file.stem, judge_part, {"documents": file, **model})
        for file in inputs["documents"]
        if file.name.startswith("parts/")
    ]


def build(job: Job) -> JudgedDocuments:
    """Judge every part. ``parts/``: the documents that reach the bound; ``dropped/``: the others, with their score as
    ``value``; ``near_misses.jsonl``: some that just reach it."""
    made = job.map(parts(job.files()))
    join_samples(job.out)
    quality = read_quality(job.path("classifier", "quality.json"))
    funnel = totals(joined(part.stats["funnel"] for part in made), (RULE,))
    scores: dict[str, Counter[int]] = {}
    for part in made:
        for source, counts in part.stats["scores"].items():
            scores.setdefault(source, Counter()).update(dict(enumerate(counts)))
    return JudgedDocuments(
        **funnel,
        kept_share=funnel["documents"] / funnel["documents_in"] if funnel["documents_in"] else 0.0,
        keep_share=quality["keep_share"],
        bound=quality["bound"],
        scores={source: [counts[place] for place in range(BINS)] for source, counts in sorted(scores.items())},
    )


def judge_part(work: PartWork) -> dict[str, Any]:
    """Judge one part. In the statistics, ``scores`` is source → documents per tenth of the scale."""
    quality = read_quality(work.inputs["quality.json"])
    model = Classifier.load(work.inputs["weights.npy"], quality["bias"])
    frame = read_part(work.inputs["documents"])
    scores = model.scores(frame["text"])
    low = scores < quality["bound"]
    target = work.out / "parts" / f"{work.name}.parquet"
    if low.any():
        write_part(target, frame.filter(pl.Series(~low)))
    else:
        target.parent.mkdir(parents=True)
        link_or_copy(work.inputs["documents"], target)
    dropped = frame.filter(pl.Series(low)).with_columns(rule=pl.lit(RULE), value=pl.Series(scores[low]))
    write_part(work.out / "dropped" / f"{work.name}.parquet", dropped)
    judged = Judged()
    judged.add(pl.arange(len(low), eager=True), pl.DataFrame({RULE: scores}))
    kept = frame.with_row_index("place").filter(pl.Series(~low))
    near = judged.near_misses(kept, {RULE: RuleSpec(min=quality["bound"])})
    write_near_misses(work.out, work.name, near)
    rules = pl.Series(low).replace_strict({True: RULE}, default=None, return_dtype=pl.String)
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    sources = frame["source"].to_numpy()
    return {
        "funnel": funnel_of(frame["source"], frame["text"].str.len_bytes(), rules),
        "scores": {
            source: np.bincount(bins[sources == source], minlength=BINS).tolist()
            for source in sorted(frame["source"].unique())
        },
    }


def kept_share(results: JudgedDocuments, bounds: ChecksSpec) -> Verdict:
    """The kept share is near the share that was asked for."""
    kept, wanted = results.kept_share, results.keep_share
    if wanted is None:
        passed = 1 - kept <= bounds.max_drop_share
        message = f"{kept:.1%} of {results.documents_in} documents reach the score {results.bound:.6g}"
    else:
        passed = abs(kept - wanted) <= NOTABLE_DRIFT * wanted
        message = (
            f"{kept:.1%} of {results.documents_in} documents are kept; the bound {results.bound:.6g} was set to keep "
            f"{100 * wanted:.3g}%"
        )
    if not passed:
        message += ": look at samples of what was dropped, and at quality.any, or change the bound"
    return Verdict(passed, message, value=kept, bound=wanted)
