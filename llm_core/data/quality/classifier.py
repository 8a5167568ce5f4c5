"""The stage that trains the quality classifier and sets the lowest score that is kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from llm_core.data import clean
from llm_core.data.dedup.signatures import doc_id_numbers
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.quality.labelled import GOOD, REST, labelled_file, labelled_part
from llm_core.data.quality.model import SAMPLE, area_under_curve, bound_of_share, train_part
from llm_core.data.results import QualityClassifier
from llm_core.data.sources.unread_files import message, summary
from llm_core.errors import PedigreeError
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.quality import QualitySpec
from llm_core.experiment.sources import SourceSpec
from llm_core.graph.job import Job
from llm_core.graph.part import InputFile, PartTask, PartWork
from llm_core.graph.stage import Verdict
from llm_core.store.files import write_atomically
from llm_core.store.parts import Part

NOTABLE_AUC = 0.8
"""Below this AUC, the classifier can hardly tell held-out good texts from others."""

_DOCUMENTS_PER_PART = 10_000
_FIELDS = {GOOD: "good", REST: "any"}


def source_digests(quality: QualitySpec, cleaning: CleaningSpec) -> dict[str, str]:
    """Name → digest, for the files of examples and those that cleaning reads. Raises ``PedigreeError`` for a file that
    is missing or has no examples."""
    files = {f"cleaning/{name}": digest for name, digest in clean.source_digests(cleaning).items()}
    for side, source in _corpora(quality).items():
        try:
            found = source.reader().source_digests()
        except PedigreeError as error:
            raise PedigreeError(f"quality.{_FIELDS[side]}: {error}") from None
        files |= {f"{_FIELDS[side]}/{name}": digest for name, digest in found.items()}
    if quality.labelled is not None:
        file = labelled_file(quality.labelled)
        files[f"labelled/{file.name}"] = file.digest
    return files


def look_up(quality: QualitySpec, cleaning: CleaningSpec) -> None:  # noqa: ARG001
    """Get from the network what ``source_digests`` needs."""
    for source in _corpora(quality).values():
        source.reader().look_up()


def build(job: Job, quality: QualitySpec, cleaning: CleaningSpec) -> QualityClassifier:
    """Read and clean the examples, train on nine tenths of them, and set the bound from held-out texts.

    ``weights.npy``: the classifier; ``quality.json``: its bias and the bound; ``examples.parquet``: the score of every
    example. Training depends on the examples and ``classifier`` only, so another bound needs no new training.
    """
    examples = _examples(job, quality, cleaning)
    inputs = {f"{side} {file.stem}": file for side, files in examples.items() for file in files}
    (made,) = job.map([PartTask("classifier", train_part, inputs, {"classifier": quality.classifier})])
    found = read_part(job.out / "examples.parquet")
    apart = found.filter("held_out", "in_class")
    good, rest = (apart.filter(side=side)["score"].to_numpy() for side in (GOOD, REST))
    judging = _judging(found)
    bound = quality.min_score if quality.keep_share is None else bound_of_share(judging, quality.keep_share)
    settings = {"bias": made.stats["bias"], "bound": bound, "keep_share": quality.keep_share}
    write_atomically(job.out / "quality.json", json.dumps(settings, indent=1).encode())
    counts = {side: found.filter("in_class", side=side).height for side in (GOOD, REST)}
    return QualityClassifier(
        examples=counts,
        held_out={GOOD: len(good), REST: len(rest)},
        auc=area_under_curve(good, rest),
        accuracy=float(((good >= 0.5).mean() + (rest < 0.5).mean()) / 2),
        bound=bound,
        keep_share=quality.keep_share,
        kept_of_good=float((good >= bound).mean()),
        kept_of_judged=float((judging >= bound).mean()),
        judged=len(judging),
    )


def sample_part(work: PartWork) -> dict[str, Any]:
    """One document in ``one_in`` (a power of two), chosen by its identity. Without any, there is no ``parts/``."""
    frame = read_part(work.inputs["documents"])
    chosen = doc_id_numbers(frame["doc_id"])["high"] & np.uint64(work.settings["one_in"] - 1) == 0
    write_part(work.out / "parts" / f"{work.name}.parquet", frame.filter(pl.Series(chosen)))
    return {}


def _corpora(quality: QualitySpec) -> dict[str, SourceSpec]:
    named = {GOOD: quality.good, REST: quality.any}
    return {side: source for side, source in named.items() if source is not None}


def _examples(job: Job, quality: QualitySpec, cleaning: CleaningSpec) -> dict[str, list[InputFile]]:
    """Side → files of cleaned documents."""
    found: dict[str, list[InputFile]] = {}
    for side, source in _corpora(quality).items():
        reader = source.reader()
        if names := reader.unread_files():
            job.runtime.log(
                f"warning: quality_classifier: quality.{_FIELDS[side]}: {message(source.name, summary(names))}"
            )
        tasks = reader.chosen(_DOCUMENTS_PER_PART, lambda wave: job.map(wave, link=False))
        read = job.map(tasks, link=False)
        bad = sum(sum(part.stats["bad"].values()) for part in read)
        if bad:
            job.runtime.log(f"quality_classifier: {bad} bad records of quality.{_FIELDS[side]} are skipped")
        found[side] = _cleaned(job, _files(read), cleaning)
    if quality.labelled is not None:
        task = PartTask(
            "labelled", labelled_part, {"labelled": labelled_file(quality.labelled)}, {"labelled": quality.labelled}
        )
        cleaned = _cleaned(job, _files(job.map([task], link=False)), cleaning)
        found |= {side: [file for file in cleaned if file.stem.startswith(f"{side}-")] for side in (GOOD, REST)}
    if quality.samples_documents:
        documents = [file for file in job.files()["documents"] if file.name.startswith("parts/")]
        found[REST if quality.labelled is None else SAMPLE] = _sampled(job, documents, quality.classifier.max_examples)
    return found


def _cleaned(job: Job, read: Sequence[InputFile], cleaning: CleaningSpec) -> list[InputFile]:
    """Cleaned examples: they get the form of the documents that will be judged."""
    return _files(job.map(clean.parts({"documents": read}, cleaning), link=False))


def _sampled(job: Job, documents: Sequence[InputFile], wanted: int) -> list[InputFile]:
    """At least ``wanted`` documents, if there are so many. When the corpus grows, its parts are sampled again only
    after it has doubled."""
    total = sum(pl.scan_parquet(file.path, glob=False).select(pl.len()).collect().item() for file in documents)
    one_in = 1
    while total // (2 * one_in) >= wanted:
        one_in *= 2
    settings = {"one_in": one_in}
    tasks = [PartTask(file.stem, sample_part, {"documents": file}, settings=settings) for file in documents]
    return _files(job.map(tasks, link=False))


def _files(parts: Sequence[Part]) -> list[InputFile]:
    """The documents in ``parts``."""
    return [
        InputFile(record.path, Path(part.folder) / record.path, record.xxh3)
        for part in parts
        for record in part.files
        if record.path.startswith("parts/")
    ]


def _judging(found: pl.DataFrame) -> np.ndarray:
    """Scores of texts like the documents that will be judged. The classifier was not trained on them."""
    sample = found.filter(side=SAMPLE)
    rows = sample if sample.height else found.filter("held_out", side=REST)
    return rows["score"].to_numpy()


def examples(results: QualityClassifier, bounds: ChecksSpec) -> Verdict:
    """There are enough examples of each class."""
    side, least = min(results.examples.items(), key=lambda item: (item[1], item[0]))
    message = f"{least} examples of the class {side!r}; at least {bounds.min_quality_examples} must be there"
    return Verdict(least >= bounds.min_quality_examples, message, value=least, bound=bounds.min_quality_examples)


def auc(results: QualityClassifier, bounds: ChecksSpec) -> Verdict:
    """The classifier separates the held-out examples."""
    del bounds
    return Verdict(
        results.auc >= NOTABLE_AUC,
        f"AUC {results.auc:.3f} on held-out examples, where 0.5 is chance: documents are kept if their score is "
        f"at least {results.bound:.6g}; {results.kept_of_good:.1%} of the good examples reach it",
        value=results.auc,
        bound=NOTABLE_AUC,
    )
