"""The sections about token ids: tokenizer and shards."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Spec, either, later, outside_identity
from llm_core.experiment.paths import YamlPath

PatternName = Literal["llama3", "gpt2", "nanochat", "cl100k"]


class VocabularyFile(Spec):
    """An existing vocabulary: a ``tokenizer.json``, or a file of ranks in tiktoken's format."""

    file: Annotated[YamlPath, outside_identity()]
    """A relative path starts at the folder of the experiment's file. Only the content counts in identities."""
    pattern: PatternName | None = None
    """The regular expression that splits text. A file of ranks does not contain it; a ``tokenizer.json`` does."""


class TokenizerSpec(Spec):
    """Byte-level BPE: trained on a deterministic sample of the training split, or imported."""

    kind: Literal["trained", "imported"] = "trained"
    """Whether the vocabulary is learnt from this experiment's text, or taken from a file."""
    imported: VocabularyFile | None = None
    """The vocabulary to import; only with ``kind: imported``. ``pattern``, ``byte_fallback``, ``unk_token``,
    ``sample_bytes`` and ``min_frequency`` then have no effect."""
    vocab_size: Annotated[int, Field(ge=260, le=1_000_000)] = 4096
    """The number of ids that the model knows. An imported vocabulary may have fewer."""
    pattern: PatternName = "llama3"
    """The regular expression that splits text before merging."""
    special_tokens: tuple[Annotated[str, Field(min_length=1)], ...] = ("<|endoftext|>",)
    """The first one ends every document."""
    byte_fallback: bool = True
    """Whether all 256 bytes are in the vocabulary, so that nothing is unknown. Otherwise only bytes of the sample are,
    and ``unk_token`` replaces each other byte."""
    unk_token: Annotated[str, Field(min_length=1)] = later(default="<|unk|>", absent="<|unk|>")
    """Its name (for example ``[UNK]``). It is included in ``vocab_size``, and comes after the ``special_tokens``."""
    sample_bytes: Count = 32_000_000
    """At most so many bytes of text to learn from."""
    min_frequency: Count = 2
    """A pair that occurs less often is not merged."""
    freeze: Annotated[
        bool | Annotated[str, Field(pattern="^[0-9a-f]{32}$")],
        either(
            "give true, false, or in quotation marks the identity of an artifact, which has 32 of the characters 0-9a-f"
        ),
    ] = outside_identity(default=False)
    """Whether the tokenizer stays when documents are added later. true keeps this experiment's last one in this store,
    while settings and code stay the same. An identity keeps that tokenizer, in any store."""
    compare: dict[str, VocabularyFile] = Field(default_factory=dict)
    """Name → another vocabulary that the report compares with this one."""

    @model_validator(mode="after")
    def _special_tokens(self) -> "TokenizerSpec":
        if not self.special_tokens or len(set(self.special_tokens)) != len(self.special_tokens):
            raise ValueError("special_tokens: give at least one (it ends every document), and each only once")
        if self.unk_token == self.special_tokens[0] and not self.byte_fallback:
            raise ValueError(f"unk_token {self.unk_token!r}: the first special token ends every document")
        renamed = self.unk_token != type(self).model_fields["unk_token"].default
        if renamed and self.unk_token in self.special_tokens:
            raise ValueError(
                f"unk_token {self.unk_token!r}: it is one of the special_tokens, and would stand for unknown "
                "bytes, too; give it another name, or leave it out there (it gets the id after them)"
            )
        if renamed and self.byte_fallback:
            raise ValueError(
                f"unk_token {self.unk_token!r}: with byte_fallback nothing is unknown; write byte_fallback: "
                "false, or leave it out"
            )
        return self

    @model_validator(mode="after")
    def _imported_or_trained(self) -> "TokenizerSpec":
        if self.kind == "imported" and self.imported is None:
            raise ValueError("imported: say which file, or remove kind: imported to train a tokenizer")
        if self.kind == "trained" and self.imported is not None:
            raise ValueError("kind: there is a file to import; say kind: imported, or remove the file")
        return self


class ShardsSpec(Spec):
    """Token files, one per part of the documents."""

    dtype: Literal["uint16", "uint32"] = "uint16"
    """The type of a token id; ``uint16`` has room for 65,536 of them."""
