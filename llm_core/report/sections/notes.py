"""The section ``notes``: remarks of the people who run the experiment."""

from typing import Literal

from llm_core.experiment.reports import SectionSpec
from llm_core.graph.job import Job
from llm_core.report.blocks import Section, text


class Notes(SectionSpec):
    """Remarks, in paragraphs."""

    kind: Literal["notes"] = "notes"

    title: str = "Notes"
    """The heading."""
    paragraphs: tuple[str, ...]
    """Plain text; HTML and Markdown are shown as they are written."""

    def build(self, job: Job) -> Section:
        """See ``SectionSpec``."""
        del job
        return Section(self.title, [text(paragraph) for paragraph in self.paragraphs])
