"""The stage ``data_report``: one page that accounts for every document, and shows samples."""

from typing import Any

from llm_core.data.clean import NOTABLE_DROPS
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.report import collect, data_cleaning, data_collect, data_facts, data_figures, read
from llm_core.report.formatting import in_bytes, percent, short
from llm_core.report.made import write_made
from llm_core.report.page import render
from llm_core.report.results import DataReport
from llm_core.report.style import Picture

PAGE = "data_report.html"
RULES_DRAWN = 14
SECTIONS = {
    "results": "Overview",
    "funnel": "Funnel",
    "rules": "What was dropped",
    "edits": "What was edited",
    "kept": "What stayed",
    "duplicates": "Near duplicates",
    "decontamination": "Decontamination",
    "tokens": "Tokens",
    "lineage": "Lineage",
    "checks": "Checks",
}


def build(job: Job, title: str, cleaning: CleaningSpec) -> DataReport:
    """Write ``data_report.html`` (one self-contained file), ``figures/*.png``, and ``made.html`` with clock times.

    ``cleaning``: the bounds to show beside the rules; another bound may give the same documents. Sections without
    content are left out (clusters without duplicates, decontamination without suites).
    """
    inputs = job.inputs
    clusters = data_collect.clusters(inputs)
    lost = data_collect.unaccounted(inputs)
    edited = data_cleaning.edit_samples(inputs)
    pictures = {picture.name: picture for picture in pictures_of(inputs, clusters)}
    shown = {
        "results": True,
        "funnel": True,
        "rules": True,
        "edits": bool(edited),
        "kept": True,
        "duplicates": clusters is not None,
        "decontamination": bool(data_facts.suites(inputs)),
        "tokens": True,
        "lineage": True,
        "checks": True,
    }
    checks_ = collect.check_rows(inputs)
    page = render(
        "data_report.html",
        kind="data report",
        title=title,
        lead=_lead(inputs),
        sections=[(anchor, name) for anchor, name in SECTIONS.items() if shown[anchor]],
        pictures=pictures,
        tiles=data_facts.tiles(inputs),
        lost=lost,
        funnel=data_collect.funnel(inputs),
        by_source=data_collect.rules_by_source(inputs),
        notable=percent(NOTABLE_DROPS),
        dropped=data_collect.drop_samples(inputs, cleaning),
        edited=edited,
        edits=data_facts.edits(inputs),
        quality=data_facts.quality(inputs),
        bad_records=data_facts.bad_records(inputs),
        kept=data_collect.kept(inputs),
        clusters=clusters,
        suites=data_facts.suites(inputs),
        tokens=data_collect.token_rows(inputs),
        tokenizer=data_facts.tokenizer(inputs),
        vocabularies=data_facts.vocabularies(inputs),
        lineage=collect.lineage(inputs),
        checks=checks_,
        failed=sum(not check["passed"] for check in checks_),
    )
    (job.out / PAGE).write_text(page, encoding="utf-8")
    write_made(job, "data report", title, pictures, {})
    raw, split = read.raw(inputs), read.split(inputs)
    return DataReport(
        raw_documents=raw.documents,
        raw_bytes=raw.bytes,
        train_documents=split.train_documents,
        train_bytes=split.train_bytes,
        unaccounted=lost,
        drops={
            stage: {rule: counts["documents"] for rule, counts in data_collect.drops_by_rule(artifact)}
            for stage, artifact in data_collect.dropping(inputs).items()
        },
        train_tokens_by_source={row["source"]: row["tokens"] for row in data_collect.tokens_by_source(inputs)},
        page_bytes=(job.out / PAGE).stat().st_size,
        figures={name: picture.save(job.out) for name, picture in pictures.items()},
    )


def all_accounted_for(results: DataReport, bounds: ChecksSpec) -> Verdict:
    """Every document from the sources stayed, or was dropped by a rule."""
    del bounds
    lost = results.unaccounted
    message = "; ".join(lost) or f"each of {results.raw_documents} documents stayed, or was dropped by a rule"
    return Verdict(not lost, message, value=len(lost), bound=0)


def _lead(inputs: data_collect.Inputs) -> str:
    raw, split = read.raw(inputs), read.split(inputs)
    share = percent(split.train_bytes / raw.bytes) if raw.bytes else "0%"
    count = len(raw.documents_by_source)
    sources = "1 source" if count == 1 else f"{count} sources"
    return (
        f"From {short(raw.documents)} documents ({in_bytes(raw.bytes)} of text) of "
        f"{sources} to {short(split.train_documents)} that a model is trained on: "
        f"{share} of the text."
    )


def pictures_of(inputs: data_collect.Inputs, clusters: dict[str, Any] | None) -> list[Picture]:
    """The figures of the page."""
    pictures = [data_figures.by_source(data_collect.text_by_stage(inputs))]
    came = read.raw(inputs).documents
    drops = sorted(
        (
            (data_collect.words(rule), counts["documents"])
            for artifact in data_collect.dropping(inputs).values()
            for rule, counts in data_collect.drops_by_rule(artifact)
        ),
        key=lambda row: -row[1],
    )
    if drops:
        rest = sum(count for _, count in drops[RULES_DRAWN:])
        shown = [*drops[:RULES_DRAWN], *([(f"{len(drops) - RULES_DRAWN} other rules", rest)] if rest else [])]
        pictures.append(data_figures.counts("drops", "Documents dropped, by rule", shown, came))
    if data_cleaning.JUDGED in inputs:
        judged = read.judged(inputs)
        every = [sum(counts) for counts in zip(*judged.scores.values(), strict=True)]
        if every:
            pictures.append(data_figures.scores(every, judged.bound))
    lengths, languages = data_facts.lengths(inputs), data_facts.languages(inputs)
    half = bool(lengths and languages)  # they are side by side
    if lengths:
        pictures.append(
            data_figures.histogram("lengths", "Length of documents", lengths, "bytes", "documents", half=half)
        )
    if languages:
        total = sum(count for _, count in languages)
        pictures.append(data_figures.counts("languages", "Languages", languages, total, half=half))
    if clusters is not None:
        pictures.append(
            data_figures.histogram(
                "cluster_sizes", "Size of clusters", [("clusters", clusters["sizes"])], "documents", "clusters"
            )
        )
    vocabularies = data_facts.vocabularies(inputs)
    if len(vocabularies) > 1:
        pictures.append(data_figures.vocabularies([(row["name"], row["by_source"]) for row in vocabularies]))
    return pictures
