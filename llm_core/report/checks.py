"""The check that all reports share."""

from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.stage import Verdict
from llm_core.report.results import Page


def page_written(results: Page, bounds: ChecksSpec) -> Verdict:
    """The page has its figures."""
    del bounds
    count = len(results.figures)
    return Verdict(count > 0, f"{results.page_bytes} bytes, {count} figures", value=count)
