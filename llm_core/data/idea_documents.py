"""The documents of an idea that changes the data: its own training split, and the launched held-out split.

All sides of a comparison are judged on the same held-out text, so no side may train on it, in any form.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data.dedup.leaks import HeldoutIndex
from llm_core.data.dedup.signatures import doc_id_numbers, read_signatures, sign_part, signature_dtype
from llm_core.data.funnel import funnel_of, joined, totals
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.results import IdeaDocuments
from llm_core.data.split import is_heldout
from llm_core.experiment.dedup import MinHashSpec, SplitSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Verdict
from llm_core.store.digests import file_digest
from llm_core.store.parts import link_or_copy

RULES = ("heldout", "heldout_document", "near_heldout")
"""Why a document is not trained on: the split holds out its text; it is a held-out document in another form; it is a
near duplicate of one."""


def build(job: Job, split: SplitSpec, minhash: MinHashSpec) -> IdeaDocuments:
    """Write ``train/`` and ``dropped/`` from the input ``documents`` (those of the idea), and link ``heldout/`` of the
    input ``launched``.

    The hash of a text alone does not protect the held-out text: a rule that changes the text of a document changes its
    hash. So documents are also compared by their ``doc_id`` and by MinHash. Leakage is counted from the written files.
    """
    files = job.files()
    heldout = [file for file in files["launched"] if file.name.startswith("heldout/")]
    signed = job.map(
        [PartTask(file.stem, sign_part, {"documents": file}, {"minhash": minhash}) for file in heldout], link=False
    )
    rows = [read_signatures(part.folder / part.files[0].path) for part in signed]
    everything = np.concatenate([np.empty(0, signature_dtype(minhash.permutations)), *rows])
    leaks = _Leaks(HeldoutIndex(everything, minhash), everything["doc_id"]["high"])
    (job.out / "heldout").mkdir()
    for file in heldout:
        link_or_copy(file.path, job.out / file.name)
    parts = {file.stem: file for file in files["documents"] if file.name.startswith("parts/")}
    signatures = {file.stem: file for file in files["documents"] if file.name.startswith("signatures/")}
    verdicts = _verdicts(job.work / "verdicts", signatures, leaks, split)
    selected = job.map(
        [
            PartTask(name, select_part, {"documents": file, "verdicts": verdicts[name]}, {})
            for name, file in parts.items()
        ]
    )
    funnel = totals(joined(part.stats["funnel"] for part in selected), RULES)
    leaked = sum(
        int(leaks.find(_written(job.out / "train" / f"{name}.parquet", file)).sum())
        for name, file in signatures.items()
    )
    return IdeaDocuments(**funnel, heldout_documents=len(everything), leaked=leaked)


class _Leaks:
    """Finds documents that are held out, in the same form, in another one, or nearly."""

    def __init__(self, index: HeldoutIndex, doc_ids: np.ndarray) -> None:
        self._index, self._doc_ids = index, doc_ids

    def rules(self, rows: np.ndarray, split: SplitSpec) -> np.ndarray:
        """For each of ``rows`` (signatures) the number of the rule that drops it, from 1; 0 for none; uint8."""
        found = self._index.find(rows)
        own = np.isin(rows["doc_id"]["high"], self._doc_ids)
        return np.select([is_heldout(rows["key"], split) | found.equal, own, found.near], [1, 2, 3], 0).astype(np.uint8)

    def find(self, rows: np.ndarray) -> np.ndarray:
        """Whether each of ``rows`` is held out in any form."""
        found = self._index.find(rows)
        return found.equal | found.near | np.isin(rows["doc_id"]["high"], self._doc_ids)


def _verdicts(folder: Path, signatures: dict[str, InputFile], leaks: _Leaks, split: SplitSpec) -> dict[str, InputFile]:
    """Write a small file per part. A part is built again only if its file changes."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, (name, file) in enumerate(signatures.items()):
        path = folder / f"{number:06d}.npy"
        np.save(path, leaks.rules(read_signatures(file.path), split))
        found[name] = InputFile(path.name, path, file_digest(path))
    return found


def select_part(work: PartWork) -> dict[str, Any]:
    """Write the documents of a part to ``train/``, or to ``dropped/`` with the rule."""
    frame, verdicts = read_part(work.inputs["documents"]), np.load(work.inputs["verdicts"])
    names: dict[int, str | None] = {0: None, **dict(enumerate(RULES, start=1))}
    rules = pl.Series("rule", verdicts).replace_strict(names, return_dtype=pl.String)
    write_part(work.out / "train" / f"{work.name}.parquet", frame.filter(rules.is_null()))
    write_part(work.out / "dropped" / f"{work.name}.parquet", frame.with_columns(rules).filter(rules.is_not_null()))
    return {"funnel": funnel_of(frame["source"], frame["text"].str.len_bytes(), rules)}


def _written(path: Path, signatures: InputFile) -> np.ndarray:
    """The signatures of the documents in a written file."""
    rows = read_signatures(signatures.path)
    return np.asarray(
        rows[np.isin(rows["doc_id"]["high"], doc_id_numbers(read_part(path, ["doc_id"])["doc_id"])["high"])]
    )


def no_leakage(results: IdeaDocuments, bounds: ChecksSpec) -> Verdict:
    """No held-out document is in the training split, in any form."""
    del bounds
    message = f"{results.leaked} training documents are held-out ones, in another form or nearly"
    return Verdict(not results.leaked, message, value=results.leaked, bound=0)
