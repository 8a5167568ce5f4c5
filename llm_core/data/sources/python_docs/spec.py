"""Installed documentation as a source: its settings."""

from typing import Any, Literal

from llm_core.experiment.base import Count
from llm_core.experiment.sources import SourceName, SourceSpec
from llm_core.registry import load_object


class PythonDocsSource(SourceSpec):
    """Docstrings and package descriptions of the standard library and the installed packages."""

    kind: Literal["python_docs"] = "python_docs"
    name: SourceName = "python_docs"
    max_bytes: Count = 16_000_000
    min_characters: Count = 200

    def reader(self) -> Any:
        """See ``SourceSpec``."""
        return load_object("llm_core.data.sources.python_docs.reader:PythonDocs")(self)
