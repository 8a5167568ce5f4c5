"""What the reports show beside their own sections. It changes the pages, and nothing else."""

from abc import abstractmethod
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field, PlainSerializer, PlainValidator

from llm_core.errors import PedigreeError
from llm_core.experiment.base import Spec
from llm_core.experiment.component import Component, choices, plain_choices
from llm_core.registries import SECTIONS


class SectionSpec(Component):
    """A section of a report. A kind defines ``build``. Its fields are its settings."""

    needs: ClassVar[tuple[str, ...]] = ()
    """The stages whose artifacts it reads. An experiment without one of them can't choose it."""

    @abstractmethod
    def build(self, job: Any) -> Any:
        """The ``llm_core.report.blocks.Section``; None to leave it out.

        ``job``: the ``llm_core.graph.job.Job`` of the report. ``job.inputs`` contains the artifacts by stage, and
        ``llm_core.report.read`` their typed results. The page must depend only on their contents, not on clock times.
        """


def chosen(value: Any) -> dict[str, SectionSpec]:
    """The sections of ``reports``; ``ValueError`` for one that can't be chosen there."""
    return choices(value, SECTIONS, SectionSpec, "reports")


ChosenSections = Annotated[Mapping[str, SectionSpec], PlainValidator(chosen), PlainSerializer(plain_choices)]
"""Kind → the section of that kind."""


class ReportsSpec(Spec):
    """Sections of one's own on the pages of the reports: kind → settings. They follow the built-in sections."""

    data: ChosenSections = Field(default_factory=dict)
    """Of the data report."""
    training: ChosenSections = Field(default_factory=dict)
    """Of the training report."""


def check_sections(place: str, chosen: ChosenSections, stages: Collection[str]) -> None:
    """Raise ``PedigreeError`` when a section of the report at ``place`` needs a stage that is not in ``stages``."""
    for kind, section in chosen.items():
        if missing := sorted(set(section.needs) - set(stages)):
            raise PedigreeError(
                f"{place}.{kind} needs {', '.join(missing)}; the report has {', '.join(sorted(stages))}"
            )
