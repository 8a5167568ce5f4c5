"""A dataset on the Hugging Face Hub as a source: its settings."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, outside_identity
from llm_core.experiment.paths import YamlPath
from llm_core.experiment.sources import HubName, ReadingSpec, SourceName, SourceSpec
from llm_core.registry import load_object


class HuggingFaceSource(ReadingSpec, SourceSpec):
    """Parquet, jsonl and csv files of a dataset on the Hugging Face Hub, at one commit."""

    kind: Literal["hugging_face"] = "hugging_face"
    name: SourceName = "hugging_face"
    repo: HubName
    """``owner/dataset``."""
    revision: Annotated[str, Field(min_length=1)]
    """A commit, 40 hexadecimal digits. A branch is an error, because it moves; the message names its current commit."""
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """Patterns of names in the dataset; ``*`` matches anything, ``/`` too."""
    max_bytes: Count | None = None
    """At most so many bytes of text: whole files in the order of a hash of their names, and the start of the last."""
    max_documents: Count | None = None
    """At most so many documents, likewise."""
    max_tokens: Count | None = None
    """About so many tokens, instead of ``max_bytes``. There is no tokenizer yet, so ``bytes_per_token`` converts."""
    bytes_per_token: Annotated[float, Field(gt=0)] = 4.5
    """Bytes per token for ``max_tokens``. English web text in a vocabulary of 32,768 entries has 4.7 (measured)."""
    local_folder: Annotated[YamlPath | None, outside_identity()] = None
    """A folder with the dataset's files at ``revision``. The Hub is not asked."""

    @property
    def byte_budget(self) -> int | None:
        """The most bytes of text that are read."""
        return self.max_bytes if self.max_tokens is None else int(self.max_tokens * self.bytes_per_token)

    @model_validator(mode="after")
    def _one_budget_of_text(self) -> "HuggingFaceSource":
        if self.max_bytes is not None and self.max_tokens is not None:
            raise ValueError("max_bytes and max_tokens both limit the text; give one of them")
        return self

    def reader(self) -> Any:
        """See ``SourceSpec``."""
        return load_object("llm_core.data.sources.hugging_face.reader:HuggingFace")(self)
