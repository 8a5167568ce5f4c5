"""Drops documents that contain an eval item, and records the item (Brown et al., 2020)."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from xxhash import xxh3_128_hexdigest

from llm_core.data.dedup.signatures import read_signatures, write_signatures
from llm_core.data.eval_index import FILES as INDEX_FILES
from llm_core.data.eval_index import EvalIndex, recall
from llm_core.data.funnel import funnel_of, joined, totals
from llm_core.data.kernels.folding import fold
from llm_core.data.parquet_parts import DOCUMENT, read_part, write_part
from llm_core.data.results import DecontaminatedDocuments
from llm_core.data.suites import read_suite, suite_digests
from llm_core.experiment.dedup import DecontaminationSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.suites import SuiteSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Verdict
from llm_core.store.files import write_atomically
from llm_core.store.parts import link_or_copy

RULE = "contaminated"

NOTABLE_TOO_SHORT = 0.5
"""If a larger share of a suite's items can't be searched for, its scores may be of text seen in training."""

_DROPPED = {**DOCUMENT, "rule": pl.String, "value": pl.Float64, "suite": pl.String, "item": pl.String}


def source_digests(decontamination: DecontaminationSpec, suites: Sequence[SuiteSpec]) -> dict[str, str]:  # noqa: ARG001
    """Name → digest, for the files of the suites. Raises ``PedigreeError`` for a missing or wrong file."""
    return suite_digests(suites)


def parts(
    inputs: Mapping[str, Sequence[InputFile]], decontamination: DecontaminationSpec, suites: Sequence[SuiteSpec]
) -> list[PartTask]:
    """One task for every part. The digest of the index follows from its inputs, so a plan needs no index."""
    return _tasks(inputs, decontamination, suites, Path("index"))


def build(job: Job, decontamination: DecontaminationSpec, suites: Sequence[SuiteSpec]) -> DecontaminatedDocuments:
    """Drop the documents that contain an eval item. ``suites.json`` has a report per suite.

    Without suites, all parts stay unchanged.
    """
    index, stats = Path(), {}
    if suites:
        (made_index,) = job.map([_index_task(decontamination, suites)], link=False)
        index, stats = made_index.folder, made_index.stats
    made = job.map(_tasks(job.files(), decontamination, suites, index))
    funnel = totals(joined(part.stats["funnel"] for part in made), (RULE,))
    report = _report(made, read_part(index / INDEX_FILES["texts"]), suites, stats["recall"]) if suites else []
    settings = decontamination.model_dump()
    write_atomically(job.out / "suites.json", json.dumps({**settings, "suites": report}, indent=1).encode())
    share = funnel["dropped"] / funnel["documents_in"] if funnel["documents_in"] else 0.0
    by_name = {suite["suite"]: suite for suite in report}
    return DecontaminatedDocuments(**funnel, contaminated_share=share, suites=by_name)


def index_part(work: PartWork, decontamination: DecontaminationSpec, suites: Sequence[SuiteSpec]) -> dict[str, Any]:
    """The index of the eval texts, and its recall of planted items.

    All items of a file are in it, whatever ``max_items`` says: a later evaluation may score more of them.
    """
    items = {suite: read_suite(suite) for suite in suites}
    index = EvalIndex.of_items(items, decontamination)
    index.save(work.out)
    return {"recall": recall(index, items)}


def pass_part(work: PartWork) -> dict[str, Any]:
    """The part unchanged: there are no eval items to search for."""
    signatures = read_signatures(work.inputs["signatures"])
    sources = read_part(work.inputs["documents"], ["source"])["source"]
    _link(work)
    write_part(work.out / "dropped" / f"{work.name}.parquet", pl.DataFrame(schema=_DROPPED))
    return {"funnel": _funnel(sources, signatures, np.zeros(len(signatures), dtype=bool))}


def decontaminate_part(
    work: PartWork,
    decontamination: DecontaminationSpec,
    suites: Sequence[SuiteSpec],  # noqa: ARG001 (by value in the part's key, as the index is made of them)
) -> dict[str, Any]:
    """Write documents without eval text to ``parts/`` and ``signatures/``, the others to ``dropped/`` with the item."""
    index = EvalIndex.load(work.inputs, decontamination)
    frame, signatures = read_part(work.inputs["documents"]), read_signatures(work.inputs["signatures"])
    found, shares, held = index.find(fold(frame["text"]))
    holds = found >= 0
    which = index.texts.select("suite", "item")[found[holds]]
    if holds.any():
        write_part(work.out / "parts" / f"{work.name}.parquet", frame.filter(pl.Series(~holds)))
        write_signatures(work.out / "signatures" / f"{work.name}.npy", signatures[~holds])
    else:
        _link(work)
    dropped = frame.filter(pl.Series(holds)).with_columns(
        rule=pl.lit(RULE), value=pl.Series(shares[holds]), suite=which["suite"], item=which["item"]
    )
    write_part(work.out / "dropped" / f"{work.name}.parquet", dropped)
    by_suite: dict[str, Counter[str]] = {}
    for suite, size in zip(which["suite"], signatures["bytes"][holds].tolist(), strict=True):
        by_suite.setdefault(suite, Counter()).update(documents=1, bytes=size)
    return {
        "funnel": _funnel(frame["source"], signatures, holds),
        "held": np.flatnonzero(held).tolist(),
        "suites": {suite: dict(counts) for suite, counts in sorted(by_suite.items())},
    }


def _tasks(
    inputs: Mapping[str, Sequence[InputFile]],
    decontamination: DecontaminationSpec,
    suites: Sequence[SuiteSpec],
    index: Path,
) -> list[PartTask]:
    files = {file.name: file for file in inputs["documents"]}
    own = [
        (file.stem, {"documents": file, "signatures": files[f"signatures/{file.stem}.npy"]})
        for file in files.values()
        if file.name.startswith("parts/")
    ]
    if not suites:
        return [PartTask(name, pass_part, roles) for name, roles in own]
    # The digest of the inputs stands for that of the index: the suites' contents are here, the settings in the config,
    # and the code of the index is code that the part's function reaches.
    digest = xxh3_128_hexdigest(json.dumps(suite_digests(suites)).encode())
    shared = {name: InputFile(file, index / file, digest) for name, file in INDEX_FILES.items()}
    config = {"decontamination": decontamination, "suites": suites}
    return [PartTask(name, decontaminate_part, {**roles, **shared}, config) for name, roles in own]


def _index_task(decontamination: DecontaminationSpec, suites: Sequence[SuiteSpec]) -> PartTask:
    files = {f"suite {suite.name}": InputFile.outside(suite.name, Path(suite.path).expanduser()) for suite in suites}
    return PartTask("index", index_part, files, {"decontamination": decontamination, "suites": suites})


def _link(work: PartWork) -> None:
    for role, name in (("documents", f"parts/{work.name}.parquet"), ("signatures", f"signatures/{work.name}.npy")):
        target = work.out / name
        target.parent.mkdir(parents=True)
        link_or_copy(work.inputs[role], target)


def _funnel(sources: pl.Series, signatures: np.ndarray, holds: np.ndarray) -> dict[str, Any]:
    rules = pl.Series(holds).replace_strict({True: RULE}, default=None, return_dtype=pl.String)
    return funnel_of(sources, pl.Series(np.array(signatures["bytes"])), rules)


def _report(
    made: Sequence[Any], texts: pl.DataFrame, suites: Sequence[SuiteSpec], recall: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A row per suite: its items, items too short to be searched for, items found, dropped documents, recall."""
    held = sorted({number for part in made for number in part.stats["held"]})
    texts = texts.with_columns(held=pl.Series(np.isin(np.arange(texts.height), held)))
    report = []
    for suite in suites:
        own = texts.filter(pl.col("suite") == suite.name)
        dropped: Counter[str] = Counter(documents=0, bytes=0)
        for part in made:
            dropped.update(part.stats["suites"].get(suite.name, {}))
        report.append(
            {
                "suite": suite.name,
                "items": own["item"].n_unique(),
                "texts": own.height,
                "items_too_short": int(own.group_by("item").agg(pl.col("length").max() == 0)["length"].sum()),
                "recall": recall[suite.name],
                "mojibake": int(own["mojibake"].sum()),
                "items_held": own.filter("held")["item"].n_unique(),
                "documents": dropped["documents"],
                "bytes": dropped["bytes"],
            }
        )
    return report


def contaminated_share(results: DecontaminatedDocuments, bounds: ChecksSpec) -> Verdict:
    """The share of contaminated documents is within its bound."""
    share = results.contaminated_share
    return Verdict(
        share <= bounds.max_contaminated_share,
        f"{share:.2%} of {results.documents_in} documents contain an eval item; at most "
        f"{bounds.max_contaminated_share:.0%} are allowed",
        value=share,
        bound=bounds.max_contaminated_share,
    )


def eval_items_too_short(results: DecontaminatedDocuments, bounds: ChecksSpec) -> Verdict:
    """Most items of every suite have enough words to be searched for."""
    del bounds
    short = {name: suite["items_too_short"] / suite["items"] for name, suite in results.suites.items()}
    worst = max(short.values(), default=0.0)
    many = [f"{part:.0%} of {name}" for name, part in short.items() if part > NOTABLE_TOO_SHORT]
    return Verdict(
        not many,
        f"of too few words to be searched for (decontamination.min_words; a script without spaces has hardly any): "
        f"{', '.join(many)}; the corpus may contain them"
        if many
        else f"at most {worst:.0%} of a suite's items have too few words to be searched for",
        value=worst,
        bound=NOTABLE_TOO_SHORT,
    )


def eval_encoding(results: DecontaminatedDocuments, bounds: ChecksSpec) -> Verdict:
    """No text of a suite was decoded wrongly."""
    del bounds
    wrong = {name: suite["mojibake"] for name, suite in results.suites.items() if suite["mojibake"]}
    return Verdict(
        not wrong,
        f"texts of suites that were decoded wrongly, and match no document: {wrong}; fetch the suites again"
        if wrong
        else "no text of a suite was decoded wrongly",
        value=sum(wrong.values()),
        bound=0,
    )
