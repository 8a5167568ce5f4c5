"""The stage ``study_report``: one page about the study, for the decision whether to launch the full run."""

from llm_core.graph.job import Job
from llm_core.report.page import save_pictures, write_page
from llm_core.report.results import Page
from llm_core.report.sections.batches import batches
from llm_core.report.sections.forecast import forecast, forecast_cost
from llm_core.report.sections.ideas import idea_times, ideas
from llm_core.report.sections.made import checks, lineage, made, versions
from llm_core.report.sections.mixtures import mixtures
from llm_core.report.sections.noise import noise
from llm_core.report.sections.rates import rates
from llm_core.report.sections.scaling import scaling_law
from llm_core.report.sections.suites import suites

PAGE, MADE = "study.html", "made.html"


def build(job: Job, title: str) -> Page:
    """Write ``study.html`` (one self-contained file), ``figures/*.png``, and ``made.html`` with times and prices."""
    page = {
        "forecast": forecast(job),
        "scaling": scaling_law(job),
        "rates": rates(job),
        "batch": batches(job),
        "ideas": ideas(job),
        "mixtures": mixtures(job),
        "noise": noise(job),
        "suites": suites(job),
        "lineage": lineage(job),
        "checks": checks(job),
    }
    write_page(job, PAGE, "study", title, "What the small runs say about the full run, before it starts.", page)
    beside = {
        "forecast": forecast_cost(job),
        "ideas": idea_times(job),
        "made": made(job),
        "versions": versions(job),
    }
    write_page(job, MADE, "study: how it was made", title, "Times, prices, machines, versions.", beside)
    return Page(page_bytes=(job.out / PAGE).stat().st_size, figures=save_pictures(job, page, beside))
