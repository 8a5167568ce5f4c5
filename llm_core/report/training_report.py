"""The stage ``training_report``: one page about how a model was trained and how good it is."""

import json

from llm_core.experiment.reports import ChosenSections
from llm_core.graph.job import Job
from llm_core.report import facts
from llm_core.report.formatting import short
from llm_core.report.page import chosen_sections, save_pictures, write_page
from llm_core.report.results import TrainingReport
from llm_core.report.sections.batches import batches
from llm_core.report.sections.cost import cost
from llm_core.report.sections.documents import documents
from llm_core.report.sections.forecast import forecast, forecast_cost
from llm_core.report.sections.ideas import idea_times, ideas
from llm_core.report.sections.made import checks, lineage, made, versions
from llm_core.report.sections.mixtures import mixtures
from llm_core.report.sections.noise import noise
from llm_core.report.sections.rates import rates
from llm_core.report.sections.retrieval import retrieval
from llm_core.report.sections.run import speed, training
from llm_core.report.sections.scaling import scaling_law
from llm_core.report.sections.scores import evaluation, results, samples
from llm_core.report.sections.start import start
from llm_core.report.sections.suites import suites
from llm_core.report.sections.test_time import repeated_sampling
from llm_core.report.sections.tokens import tokenizer
from llm_core.report.sections.tuning import tuning

PAGE, MADE = "report.html", "made.html"


def build(job: Job, title: str, price_per_gpu_hour: float, sections: ChosenSections) -> TrainingReport:
    """Write ``report.html`` (one self-contained file), ``figures/*.png`` and ``summary.json``.

    They depend only on the contents of the inputs. Clock times, hosts, versions and prices are in ``made.html`` and
    ``timing/*.png``. The stages of a study are optional inputs.
    """
    headline = facts.headline(job.inputs, price_per_gpu_hour)
    page = {
        "results": results(job, headline),
        "forecast": forecast(job),
        "data": documents(job),
        "tokenizer": tokenizer(job),
        "training": training(job),
        "scaling": scaling_law(job),
        "rates": rates(job),
        "batch": batches(job),
        "ideas": ideas(job),
        "mixtures": mixtures(job),
        "noise": noise(job),
        "suites": suites(job),
        "start": start(job),
        "evaluation": evaluation(job, headline),
        "retrieval": retrieval(job),
        "test_time_compute": repeated_sampling(job),
        "samples": samples(job),
        "tuning": tuning(job),
        **chosen_sections(job, sections),
        "lineage": lineage(job),
        "checks": checks(job),
    }
    how = "trained elsewhere" if headline["tokens"] is None else f"trained on {short(headline['tokens'])} tokens"
    lead = f"A language model of {short(headline['parameters'])} parameters, {how}."
    write_page(job, PAGE, "training report", title, lead, page)
    beside = {
        "cost": cost(job, headline, price_per_gpu_hour),
        "speed": speed(job),
        "forecast": forecast_cost(job),
        "ideas": idea_times(job),
        "made": made(job),
        "versions": versions(job),
    }
    lead = "What differs when the same model is made again: times, machines, versions."
    write_page(job, MADE, "training report: how it was made", title, lead, beside)
    figures = save_pictures(job, page, beside)
    lasting = {name: value for name, value in headline.items() if name not in TrainingReport.volatile()}
    (job.out / "summary.json").write_text(json.dumps({"title": title, **lasting}, indent=2) + "\n", encoding="utf-8")
    return TrainingReport(**headline, page_bytes=(job.out / PAGE).stat().st_size, figures=figures)
