"""The sections that say how text becomes token ids: tokenizer and shards."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Spec

RUNTIME_ONLY = True


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
