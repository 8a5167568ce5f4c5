"""The stage ``data_report``: one page that accounts for every document, and shows samples."""

from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.reports import ChosenSections
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.report import facts, read
from llm_core.report.formatting import in_bytes, share, short
from llm_core.report.page import chosen_sections, save_pictures, write_page
from llm_core.report.read import Inputs
from llm_core.report.results import DataReport
from llm_core.report.sections.documents import funnel, overview
from llm_core.report.sections.dropped import dropped
from llm_core.report.sections.made import checks, lineage, made, versions
from llm_core.report.sections.texts import decontamination, duplicates, edited, kept
from llm_core.report.sections.tokens import tokens

PAGE, MADE = "data_report.html", "made.html"


def build(job: Job, title: str, cleaning: CleaningSpec, sections: ChosenSections) -> DataReport:
    """Write ``data_report.html`` (one self-contained file), ``figures/*.png``, and ``made.html`` with clock times.

    ``cleaning``: the bounds to show beside the rules; another bound may give the same documents. Sections without
    content are left out (clusters without duplicates, decontamination without suites).
    """
    inputs = job.inputs
    page = {
        "overview": overview(job),
        "funnel": funnel(job),
        "rules": dropped(job, cleaning),
        "edits": edited(job),
        "kept": kept(job),
        "duplicates": duplicates(job),
        "decontamination": decontamination(job),
        "tokens": tokens(job),
        **chosen_sections(job, sections),
        "lineage": lineage(job),
        "checks": checks(job),
    }
    write_page(job, PAGE, "data report", title, _lead(inputs), page)
    lead = "What differs when the same data is made again: times, machines, versions."
    beside = {"made": made(job), "versions": versions(job)}
    write_page(job, MADE, "data report: how it was made", title, lead, beside)
    figures = save_pictures(job, page, beside)
    raw, train = facts.levels(inputs)[read.RAW], facts.splits(inputs)["train"]
    return DataReport(
        raw_documents=raw.documents,
        raw_bytes=raw.bytes,
        train_documents=train.documents,
        train_bytes=train.bytes,
        unaccounted=facts.unaccounted(inputs),
        drops={
            stage: {rule: counts["documents"] for rule, counts in facts.drops_by_rule(artifact)}
            for stage, artifact in facts.dropping(inputs).items()
        },
        train_tokens_by_source={row.source: row.tokens for row in facts.tokens_by_source(inputs)},
        page_bytes=(job.out / PAGE).stat().st_size,
        figures=figures,
    )


def all_accounted_for(results: DataReport, bounds: ChecksSpec) -> Verdict:
    """Every document from the sources stayed, or was dropped by a rule."""
    del bounds
    lost = results.unaccounted
    message = "; ".join(lost) or f"each of {results.raw_documents} documents stayed, or was dropped by a rule"
    return Verdict(not lost, message, value=len(lost), bound=0)


def _lead(inputs: Inputs) -> str:
    raw, train = facts.levels(inputs)[read.RAW], facts.splits(inputs)["train"]
    count = len(read.raw(inputs).documents_by_source)
    return (
        f"From {short(raw.documents)} documents ({in_bytes(raw.bytes)} of text) of "
        f"{'1 source' if count == 1 else f'{count} sources'} to {short(train.documents)} that a model is trained on: "
        f"{share(train.bytes, raw.bytes)} of the text."
    )
