"""The results of a training run."""

from typing import Any

from llm_core.graph.results import Results, volatile


class TrainingResults(Results):
    """A finished run. Losses are in nats per token, or None when they are not finite."""

    parameters: int
    steps: int
    tokens: int
    """Tokens read in training."""
    planned_tokens: int
    first_loss: float | None
    final_loss: float | None
    """The mean over the last steps."""
    final_validation_loss: float | None = volatile()
    """Volatile: validation settings do not change the weights."""
    final_validation_bits_per_byte: float | None = volatile(default=None)
    start_validation_loss: float | None = volatile(default=None)
    """Before the first step; only of runs that start from other weights."""
    validation_tokens: int = volatile()
    skipped_steps: int
    """Steps without an update, including those left out after a rollback."""
    left_out_steps: int
    curve: str
    """A digest of the fields of ``metrics.jsonl`` that the identity determines."""
    sources: dict[str, Any]
    """Source → its share, sequences, tokens and epochs, and the packing of its documents."""
    packing: str
    tokens_per_second: float = volatile()
    """The median over the steps."""
    seconds_training: float = volatile()
    peak_memory_bytes: int = volatile()
    """The largest rank's peak: of its GPU, or of its process on a CPU."""
    mfu: float | None = volatile()
    """Model FLOPs utilisation, from 0 to 1; None when the device's peak is not known."""
    device: str = volatile()
    ranks: int = volatile()
    compute: dict[str, Any] = volatile()
    """The fields of ``compute`` that affect time and memory."""
