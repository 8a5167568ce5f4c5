"""What a training run measured."""

from typing import Any

from llm_core.graph.results import Results, volatile


class TrainingResults(Results):
    """A finished run. A loss is in nats per token, and None where there is no finite one."""

    parameters: int
    steps: int
    tokens: int
    """Tokens that were read."""
    planned_tokens: int
    first_loss: float | None
    final_loss: float | None
    """Mean over the last steps."""
    final_validation_loss: float | None = volatile()
    """Volatile, as what is validated decides nothing of the weights."""
    final_validation_bits_per_byte: float | None = volatile(default=None)
    start_validation_loss: float | None = volatile(default=None)
    """Before the first step, of a run that began with another's weights."""
    validation_tokens: int = volatile()
    skipped_steps: int
    """Steps whose update was not applied, those left out after a rollback too."""
    left_out_steps: int
    curve: str
    """Digest of what ``metrics.jsonl`` says beside clock times."""
    sources: dict[str, Any]
    """Source → its share, sequences, tokens and epochs, and how its documents are packed."""
    packing: str
    tokens_per_second: float = volatile()
    """Median over the steps."""
    seconds_training: float = volatile()
    peak_memory_bytes: int = volatile()
    """Of a device, or of the process on a CPU; the largest rank's."""
    mfu: float | None = volatile()
    """Model FLOPs utilisation, from 0 to 1; None where the device's peak is not known."""
    device: str = volatile()
    ranks: int = volatile()
    compute: dict[str, Any] = volatile()
    """The fields of ``compute`` that time and memory depend on."""
