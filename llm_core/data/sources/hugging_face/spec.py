"""A dataset on the Hugging Face Hub as a source: its settings."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, outside_identity
from llm_core.experiment.paths import YamlPath
from llm_core.experiment.sources import ReadingSpec, SourceName, SourceSpec
from llm_core.registry import load_object


class HuggingFaceSource(ReadingSpec, SourceSpec):
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
    local_folder: Annotated[YamlPath | None, outside_identity()] = None
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

    def reader(self) -> Any:
        """See ``SourceSpec``."""
        return load_object("llm_core.data.sources.hugging_face.reader:HuggingFace")(self)
