"""The sections that describe text: sources, cleaning, deduplication, split, tokenizer and shards."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Spec, one_of, outside_identity
from llm_core.registries import RULES

RUNTIME_ONLY = True

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


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


class RuleSpec(Spec):
    """Bounds of one rule's value, both inclusive; a document outside them is dropped."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> "RuleSpec":
        if self.min is None and self.max is None:
            raise ValueError("give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class CleaningSpec(Spec):
    """Normalising, then rules in the order in which they stand; the first that fails names the drop."""

    unicode_form: Literal["NFC", "NFKC", "none"] = "NFC"
    plain_quotes: bool = True
    """Typographic quotation marks, dashes of that family and ellipses become their ASCII kin."""
    uncased: bool = False
    rules: dict[Annotated[str, one_of(RULES)], RuleSpec] = Field(default_factory=dict)


class DedupSpec(Spec):
    """Which documents count as the same."""

    method: Literal["exact", "none"] = "exact"


class SplitSpec(Spec):
    """The held-out split, chosen by document hash: it stays as it is when the corpus grows."""

    heldout_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    salt: str = "pedigree"


class TokenizerSpec(Spec):
    """Byte-level BPE, trained on a deterministic sample of the training split."""

    vocab_size: Annotated[int, Field(ge=260, le=1_000_000)] = 4096
    pattern: Literal["llama3", "gpt2"] = "llama3"
    """The regular expression that cuts text before merging."""
    special_tokens: tuple[Annotated[str, Field(min_length=1)], ...] = ("<|endoftext|>",)
    """The first one ends every document."""
    byte_fallback: bool = True
    """All 256 bytes are in the vocabulary, so that nothing is unknown; otherwise only seen ones, and ``<|unk|>``."""
    sample_bytes: Count = 32_000_000
    min_frequency: Count = 2

    @model_validator(mode="after")
    def _special_tokens(self) -> "TokenizerSpec":
        if not self.special_tokens or len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError("special_tokens: give at least one (it ends every document), and each only once")
        return self


class ShardsSpec(Spec):
    """Token files."""

    dtype: Literal["uint16", "uint32"] = "uint16"
    tokens_per_shard: Count = 100_000_000
