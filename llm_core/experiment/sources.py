"""The section that says where documents come from."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from llm_core.experiment.base import Count, Share, Spec, later, outside_identity
from llm_core.experiment.conditions import parsed_condition
from llm_core.experiment.templates import parsed_template

SourceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""A name that can stand in the names of files."""


class PythonDocsSource(Spec):
    """Docstrings and package descriptions of the standard library and the installed packages."""

    kind: Literal["python_docs"] = "python_docs"
    name: SourceName = "python_docs"
    max_bytes: Count = 16_000_000
    min_characters: Count = 200


class ReadingSpec(Spec):
    """How the records of a file become documents: what one file's documents depend on, beside its content."""

    name: SourceName
    text_field: str = "text"
    """The key or the column that holds the text, in jsonl, csv and parquet. ``data.text`` is ``text`` inside ``data``,
    unless there is a key ``data.text``."""
    url_field: str | None = None
    """The key or the column that holds the document's address, likewise. Web archives bring theirs."""
    template: str | None = later(None, None)
    """The text as several fields together, in place of ``text_field``: ``{title}\\n\\n{data.text}``. ``{{`` and ``}}``
    stand for braces; a number is written as it is in the file."""
    where: Annotated[tuple[str, ...], Field(max_length=100)] = later((), [])
    """Conditions that a record must all meet: ``int_score >= 3``, ``language == "en"``, ``lang in ["en", "de"]``.
    Values are JSON; a record that does not meet one is skipped and counted."""
    max_record_bytes: Count = 16_000_000
    """A longer record is set aside as bad, and never held in memory whole."""
    max_expansion: Count = 100
    """Beyond 64 MiB, a file that unpacks to more than so many times its size is an error: text never does."""

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


class FilesSource(ReadingSpec):
    """Local jsonl, csv, tsv, parquet, txt, md, html, WARC and WET files, plain or compressed (not parquet)."""

    kind: Literal["files"] = "files"
    name: SourceName = "files"
    paths: Annotated[tuple[str, ...], outside_identity(min_length=1)]
    """Glob patterns and folders; relative ones start at the folder of the experiment's file."""

    @field_validator("paths")
    @classmethod
    def _are_local(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if any("://" in path for path in paths):
            raise ValueError("these are paths of local files, and no addresses: download the files first")
        return paths


class HuggingFaceSource(ReadingSpec):
    """Parquet, jsonl and csv files of a dataset on the Hugging Face Hub, at one commit."""

    kind: Literal["hugging_face"] = "hugging_face"
    name: SourceName = "hugging_face"
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$")]
    """``owner/dataset``."""
    revision: Annotated[str, Field(min_length=1)]
    """A commit, 40 hexadecimal digits. A branch moves, and so is an error (which says where it is now)."""
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Patterns of names in the dataset; ``*`` matches anything, ``/`` too."""
    max_bytes: Count | None = None
    """At most so many bytes of text: whole files in the order of a hash of their names, and the start of the last."""
    max_documents: Count | None = None
    """At most so many documents, likewise."""
    max_tokens: Count | None = None
    """About so many tokens, in place of ``max_bytes``: there is no tokenizer yet, so ``bytes_per_token`` counts."""
    bytes_per_token: Annotated[float, Field(gt=0)] = 4.5
    """What ``max_tokens`` takes for a token; English web text in a vocabulary of 32,768 was measured at 4.7."""
    local_folder: Annotated[str | None, outside_identity()] = None
    """A folder that holds the dataset's files as they are at ``revision``: nothing is asked of the Hub."""

    @property
    def byte_budget(self) -> int | None:
        """Bytes of text that are taken at most."""
        return self.max_bytes if self.max_tokens is None else int(self.max_tokens * self.bytes_per_token)

    @model_validator(mode="after")
    def _one_budget_of_text(self) -> "HuggingFaceSource":
        if self.max_bytes is not None and self.max_tokens is not None:
            raise ValueError("max_bytes and max_tokens both bound the text; give one of them")
        return self


SourceSpec = Annotated[PythonDocsSource | FilesSource | HuggingFaceSource, Field(discriminator="kind")]


class RawSpec(Spec):
    """Where documents come from."""

    sources: Annotated[tuple[SourceSpec, ...], Field(min_length=1)] = (PythonDocsSource(),)
    documents_per_part: Count = 10_000
    max_bad_share: Share = 0.01
    """More bad records than this share of all stop the stage."""

    @model_validator(mode="after")
    def _names_differ(self) -> "RawSpec":
        names = [source.name for source in self.sources]
        if len(set(names)) != len(names):
            raise ValueError(f"two sources share a name: {', '.join(names)}; give each its own 'name'")
        return self
