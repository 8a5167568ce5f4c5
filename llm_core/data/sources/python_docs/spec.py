"""Installed documentation as a source: its settings."""

from typing import Any, Literal

from llm_core.experiment.base import Count
from llm_core.experiment.sources import SourceName, SourceSpec
from llm_core.registry import load_object


class PythonDocsSource(SourceSpec):
    """Docstrings and package descriptions of the standard library and the installed packages."""

    kind: Literal["python_docs"] = "python_docs"
    name: SourceName = "python_docs"
    """The source's name in reports, mixtures and ``dedup.prefer``."""
    max_bytes: Count = 16_000_000
    """At most so many bytes of text."""
    min_characters: Count = 200
    """Shorter docstrings and descriptions are left out."""

    def reader(self) -> Any:
        """See ``SourceSpec``."""
        return load_object("llm_core.data.sources.python_docs.reader:PythonDocs")(self)
