"""What the stages of tokens measured."""

from llm_core.graph.results import Results


class TrainedTokenizer(Results):
    """A tokenizer, and how well it fits."""

    kind: str
    """``trained`` or ``imported``."""
    vocab_size: int
    vocab_size_asked: int
    learned_entries: int
    """Entries beside special tokens and single bytes."""
    sample_documents: int
    """Documents that it was trained on; 0 for an imported one."""
    sample_bytes: int
    bytes_per_token: float
    """Of training text."""
    heldout_documents: int
    heldout_bytes: int
    heldout_bytes_per_token: float
    unk_rate: float
    """Unknown tokens per held-out token."""


class TokenShards(Results):
    """The encoded splits, as read back from their files."""

    documents: int
    train_tokens: int
    train_documents: int
    train_tokens_of_documents: int
    """The sum over ``documents.parquet``."""
    train_bytes_per_token: float
    """Without the tokens that end documents."""
    heldout_tokens: int
    heldout_documents: int
    heldout_tokens_of_documents: int
    heldout_bytes_per_token: float
    shards: int
    empty_parts: int
    """Parts of the training split without a document."""
    tokens_by_source: dict[str, int]
    vocab_size: int
    learned_entries: int
    unused_entries: int
    """Learned entries that never occur in the training split."""
    unused_share: float
    """Of the learned entries."""
    end_of_text_tokens: int
    misplaced_ends: int
    """Documents that do not end with an end-of-text token."""
    round_trips: int
    """Documents that were decoded again."""
    round_trips_failed: int
