"""The section that says where documents come from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Share, Spec, outside_identity

RUNTIME_ONLY = True


class PythonDocsSource(Spec):
    """Docstrings and package descriptions of the standard library and the installed packages."""

    kind: Literal["python_docs"] = "python_docs"
    name: str = "python_docs"
    max_bytes: Count = 16_000_000
    min_characters: Count = 200


class FilesSource(Spec):
    """Local jsonl, parquet or txt files, plain or compressed with gzip or zstd."""

    kind: Literal["files"] = "files"
    name: str = "files"
    paths: Annotated[tuple[str, ...], outside_identity(min_length=1)]
    """Glob patterns; relative ones start at the folder of the experiment's file."""
    text_field: str = "text"
    max_record_bytes: Count = 16_000_000
    """A longer record is set aside as bad."""


SourceSpec = Annotated[PythonDocsSource | FilesSource, Field(discriminator="kind")]


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
