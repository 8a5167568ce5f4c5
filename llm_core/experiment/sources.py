"""The section that says where documents come from, and what its components are asked for."""

from abc import abstractmethod
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from llm_core.experiment.base import Count, Share, Spec, later
from llm_core.experiment.component import Component, KindOf
from llm_core.experiment.conditions import parsed_condition
from llm_core.experiment.templates import parsed_template
from llm_core.registries import SOURCES

SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A name that is valid as a part of file names."""

HubName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
"""``owner/name`` on the Hugging Face Hub."""

License = Annotated[str, Field(min_length=1, max_length=200)] | None


class SourceSpec(Component):
    """A source of documents. A kind defines ``reader``, and a default for ``name``."""

    name: SourceName
    """What the source is called in reports, mixtures and ``dedup.prefer``."""
    license: License = later(None, None)
    """The licence of its texts, for the model card: an SPDX identifier (``CC-BY-4.0``), or a few words."""

    @abstractmethod
    def reader(self) -> Any:
        """Its reader, a ``llm_core.data.sources.reader.SourceReader``."""


class ReadingSpec(Spec):
    """How the records of a file become documents. A file's documents depend on this and its content only."""

    name: SourceName
    """What the source is called in reports, mixtures and ``dedup.prefer``."""
    text_field: str = "text"
    """The key or column of the text, in jsonl, csv and parquet. ``data.text`` is ``text`` inside ``data``, unless there
    is a key ``data.text``."""
    url_field: str | None = None
    """The key or column of the document's address, in the same form. Web archives contain it."""
    template: str | None = later(None, None)
    """Joins several fields into the text, instead of ``text_field``: ``{title}\\n\\n{data.text}``. ``{{`` and ``}}``
    are literal braces. A number is written as it is in the file."""
    where: Annotated[tuple[str, ...], Field(max_length=100)] = later((), [])
    """Conditions that a record must meet: ``int_score >= 3``, ``language == "en"``, ``lang in ["en", "de"]``. Values
    are JSON. A record that fails one is skipped and counted."""
    max_record_bytes: Count = 16_000_000
    """A longer record counts as bad. It is never in memory as a whole."""
    max_expansion: Count = 100
    """Above 64 MiB, a file that decompresses to more than this multiple of its size is an error: text never does."""

    @field_validator("template")
    @classmethod
    def _is_template(cls, template: str | None) -> str | None:
        if template is not None:
            parsed_template(template)
        return template

    @field_validator("where")
    @classmethod
    def _are_conditions(cls, where: tuple[str, ...]) -> tuple[str, ...]:
        for condition in where:
            parsed_condition(condition)
        return where

    @model_validator(mode="after")
    def _one_text(self) -> "ReadingSpec":
        if self.template is not None and "text_field" in self.model_fields_set:
            raise ValueError("text_field and template both say what the text is; give one of them")
        return self

    def reading(self) -> "ReadingSpec":
        """Only the reading settings of a source: the parts of its files depend on these."""
        given = {"name", *self.model_fields_set} & set(ReadingSpec.model_fields)
        return ReadingSpec(**{name: getattr(self, name) for name in given})


class RawSpec(Spec):
    """Where documents come from."""

    sources: Annotated[tuple[Annotated[SourceSpec, KindOf(SOURCES)], ...], Field(min_length=1)] = ("python_docs",)  # type: ignore[assignment]
    """One or several; each has a ``name`` of its own."""
    documents_per_part: Count = 10_000
    """So many documents are one part: what a worker makes at a time, and what is made again when it changes."""
    max_bad_share: Share = 0.01
    """The stage fails when a larger share of the records is bad."""

    @model_validator(mode="after")
    def _names_differ(self) -> "RawSpec":
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources share a name: {', '.join(names)}; give each its own 'name'")
        return self
