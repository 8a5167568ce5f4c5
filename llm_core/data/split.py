"""Splits documents into the training split and the held-out split, which no model is trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from xxhash import xxh3_64_intdigest

from llm_core.data.dedup.clusters import first_of_equals
from llm_core.data.dedup.leaks import HeldoutIndex
from llm_core.data.dedup.signatures import (
    PAIR,
    doc_id_numbers,
    doc_id_texts,
    read_signatures,
    signature_dtype,
    write_signatures,
)
from llm_core.data.funnel import funnel_of, joined, totals
from llm_core.data.parquet_parts import read_part, read_parts, write_part
from llm_core.data.results import PretrainingDocuments
from llm_core.errors import PedigreeError
from llm_core.experiment.dedup import MinHashSpec, SplitSpec
from llm_core.experiment.evaluation import ChecksSpec, EvaluationSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Verdict
from llm_core.store.digests import file_digest

SPLITS = ("train", "heldout")
RULE = "near_heldout"

_LEAK = np.dtype([("place", "<u4"), ("similarity", "<f8"), ("doc_id", PAIR)])


def parts(
    inputs: Mapping[str, Sequence[InputFile]],
    split: SplitSpec,
    minhash: MinHashSpec,  # noqa: ARG001
    evaluation: EvaluationSpec,  # noqa: ARG001
) -> list[PartTask]:
    """The tasks of the first map: the signatures of held-out documents."""
    return [
        PartTask(file.stem, heldout_part, {"signatures": file}, {"split": split})
        for file in inputs["documents"]
        if file.name.startswith("signatures/")
    ]


def build(job: Job, split: SplitSpec, minhash: MinHashSpec, evaluation: EvaluationSpec) -> PretrainingDocuments:
    """Split every part of the input into parts of the same name in ``train/``, ``heldout/`` and ``dropped/``.

    The hash of a document's folded text decides. So a document stays in its split when the corpus grows, and equal
    texts are in one split. A training document that is a near duplicate of a held-out one is dropped. Leakage and
    identities are counted from the written files. ``evaluation`` changes no file: the documents that it will need are
    counted here, so that a shortage shows before training.
    """
    files = job.files()
    documents = [file for file in files["documents"] if file.name.startswith("parts/")]
    tasks = parts(files, split, minhash, evaluation)
    index = _heldout_index(job, tasks, minhash)
    leaks = _leaks(job.work / "leaks", tasks, index, split)
    selected = job.map(
        [
            PartTask(
                task.name,
                select_part,
                {"documents": file, "signatures": task.inputs["signatures"], "leaks": leak},
                {"split": split},
            )
            for task, file, leak in zip(tasks, documents, leaks, strict=True)
        ]
    )
    job.runtime.log("pretraining_documents: searching the written files for leakage")
    funnel = totals(joined(part.stats["funnel"] for part in selected), (RULE,))
    stats: dict[str, Any] = {
        f"{name}_{figure}": sum(part.stats[name][figure] for part in selected)
        for name in SPLITS
        for figure in ("documents", "bytes")
    }
    return PretrainingDocuments(
        **funnel,
        **stats,
        heldout_share=stats["heldout_documents"] / funnel["documents"] if funnel["documents"] else 0.0,
        **_written(job, tasks, minhash),
        heldout_usable=_long_enough(job.out / "heldout", evaluation.question_characters),
        heldout_needed=evaluation.choices,
        heldout_characters=evaluation.question_characters,
    )


def heldout_part(work: PartWork, split: SplitSpec) -> dict[str, Any]:
    """Write ``signatures/NAME.npy``, the signatures of held-out documents. (The name must differ from those of document
    parts: a plan takes these files for files of the split.)"""
    rows = read_signatures(work.inputs["signatures"])
    write_signatures(work.out / "signatures" / f"{work.name}.npy", rows[is_heldout(rows["key"], split)])
    return {}


def select_part(work: PartWork, split: SplitSpec) -> dict[str, Any]:
    """Write ``train/``, ``heldout/``, and ``dropped/``: training documents too similar to a held-out document."""
    frame, rows = read_part(work.inputs["documents"]), read_signatures(work.inputs["signatures"])
    if not np.array_equal(doc_id_numbers(frame["doc_id"]), rows["doc_id"]):
        raise PedigreeError(f"{work.inputs['signatures']}: not the signatures of part {work.name}; make it again")
    leaks = np.load(work.inputs["leaks"])
    heldout = is_heldout(rows["key"], split)
    leaky = np.zeros(len(rows), dtype=bool)
    leaky[leaks["place"]] = True
    sides = {"train": frame.filter(pl.Series(~heldout & ~leaky)), "heldout": frame.filter(pl.Series(heldout))}
    dropped = frame.filter(pl.Series(leaky)).with_columns(
        rule=pl.lit(RULE),
        value=pl.Series(leaks["similarity"]),
        kept_doc_id=pl.Series(doc_id_texts(leaks["doc_id"]), dtype=pl.String),
    )
    for name, side in (*sides.items(), ("dropped", dropped)):
        write_part(work.out / name / f"{work.name}.parquet", side)
    sizes = frame["text"].str.len_bytes()
    rules = pl.Series(leaky).replace_strict({True: RULE}, default=None, return_dtype=pl.String)
    counts = {
        name: {"documents": side.height, "bytes": int(side["text"].str.len_bytes().sum())}
        for name, side in sides.items()
    }
    return {"funnel": funnel_of(frame["source"], sizes, rules), **counts}


def is_heldout(keys: np.ndarray, split: SplitSpec) -> np.ndarray:
    """Whether each key (``PAIR`` [n]) is held out: its hash with the salt, uniform in [0, 2^64), is low enough."""
    value = np.array(keys["high"]) ^ np.uint64(xxh3_64_intdigest(split.salt.encode()))
    for _ in range(2):
        value = (value ^ (value >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    value ^= value >> np.uint64(32)
    return value < np.uint64(int(split.heldout_share * 2.0**64))


def _heldout_index(job: Job, tasks: Sequence[PartTask], minhash: MinHashSpec) -> HeldoutIndex:
    made = job.map(tasks, link=False)
    rows = [read_signatures(part.folder / part.files[0].path) for part in made]
    return HeldoutIndex(np.concatenate([np.empty(0, signature_dtype(minhash.permutations)), *rows]), minhash)


def _leaks(folder: Path, tasks: Sequence[PartTask], index: HeldoutIndex, split: SplitSpec) -> list[InputFile]:
    """Write a small file per part with its leaking documents. A part is built again only if its file changes."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, task in enumerate(tasks):
        rows = read_signatures(task.inputs["signatures"].path)
        places = np.flatnonzero(~is_heldout(rows["key"], split))
        found = index.find(rows[places])
        leaks = np.zeros(int(found.near.sum()), dtype=_LEAK)
        leaks["place"] = places[found.near]
        leaks["similarity"] = found.similarity[found.near]
        leaks["doc_id"] = found.doc_ids[found.near]
        path = folder / f"{number:06d}.npy"
        np.save(path, leaks)
        files.append(InputFile(path.name, path, file_digest(path)))
    return files


def _written(job: Job, tasks: Sequence[PartTask], minhash: MinHashSpec) -> dict[str, int]:
    """Leakage between the written splits, and repeated identities."""
    written = {side: [_doc_ids(job.out / side / f"{task.name}.parquet") for task in tasks] for side in SPLITS}
    rows = [read_signatures(task.inputs["signatures"].path) for task in tasks]
    heldout = [_signatures(*pair) for pair in zip(rows, written["heldout"], strict=True)]
    index = HeldoutIndex(np.concatenate([np.empty(0, signature_dtype(minhash.permutations)), *heldout]), minhash)
    equal, near = 0, 0
    for pair in zip(rows, written["train"], strict=True):
        found = index.find(_signatures(*pair))
        equal += int(found.equal.sum())
        near += int((found.near & ~found.equal).sum())
    doc_ids = np.concatenate([np.empty(0, PAIR), *written["train"], *written["heldout"]])
    return {
        "in_both_splits": equal,
        "nearly_in_both_splits": near,
        "repeated_doc_ids": int((first_of_equals(doc_ids) != np.arange(len(doc_ids))).sum()),
    }


def _doc_ids(path: Path) -> np.ndarray:
    return doc_id_numbers(read_part(path, ["doc_id"])["doc_id"])


def _signatures(rows: np.ndarray, doc_ids: np.ndarray) -> np.ndarray:
    """The signatures of the documents ``doc_ids``, from those of a part."""
    return rows[np.isin(rows["doc_id"]["high"], doc_ids["high"])]


def _long_enough(folder: Path, characters: int) -> int:
    return sum(int((frame["text"].str.len_chars() >= characters).sum()) for _, frame in read_parts(folder, ["text"]))


def not_empty(results: PretrainingDocuments, bounds: ChecksSpec) -> Verdict:
    """Both splits have documents."""
    del bounds
    train, heldout = results.train_documents, results.heldout_documents
    if not train:
        advice = ": use more text, or a smaller split.heldout_share"
    elif not heldout:
        advice = ": use more text, or a larger split.heldout_share"
    else:
        advice = ""
    least = min(train, heldout)
    return Verdict(least > 0, f"{train} training documents, {heldout} held-out documents{advice}", value=least, bound=1)


def no_overlap(results: PretrainingDocuments, bounds: ChecksSpec) -> Verdict:
    """No document, and no near duplicate of one, is in both splits."""
    del bounds
    overlap, near = results.in_both_splits, results.nearly_in_both_splits
    message = f"{overlap} documents stand in both splits, {near} more are near duplicates of a held-out one"
    return Verdict(overlap + near == 0, message, value=overlap + near, bound=0)


def heldout_usable(results: PretrainingDocuments, bounds: ChecksSpec) -> Verdict:
    """There are enough held-out documents for the questions of the evaluation."""
    del bounds
    usable, needed = results.heldout_usable, results.heldout_needed
    return Verdict(
        usable >= needed,
        f"{usable} held-out documents have the {results.heldout_characters} characters that a question needs; its "
        f"choices come from {needed} documents"
        + (
            ""
            if usable >= needed
            else ": use more text or a larger split.heldout_share, or lower evaluation.context_characters, "
            "continuation_characters or choices"
        ),
        value=usable,
        bound=needed,
    )
