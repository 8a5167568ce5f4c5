"""Local files as a source: its settings."""

from typing import Annotated, Any, Literal

from pydantic import field_validator

from llm_core.experiment.base import outside_identity
from llm_core.experiment.paths import YamlPattern
from llm_core.experiment.sources import ReadingSpec, SourceName, SourceSpec
from llm_core.registry import load_object


class FilesSource(ReadingSpec, SourceSpec):
    """Local jsonl, csv, tsv, parquet, txt, md, html, WARC and WET files, plain or compressed (not parquet)."""

    kind: Literal["files"] = "files"
    name: SourceName = "files"
    paths: Annotated[tuple[YamlPattern, ...], outside_identity(min_length=1)]
    """Glob patterns and folders; relative ones start at the folder of the experiment's file."""

    @field_validator("paths")
    @classmethod
    def _are_local(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if any("://" in path for path in paths):
            raise ValueError("only paths of local files are allowed here, no URLs: download the files first")
        return paths

    def reader(self) -> Any:
        """See ``SourceSpec``."""
        return load_object("llm_core.data.sources.files.reader:Files")(self)
