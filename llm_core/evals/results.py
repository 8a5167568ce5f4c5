"""The results of the evaluation and the samples."""

from typing import Any

from llm_core.graph.results import Results, volatile


class EvalResults(Results):
    """Scores of a model. A ``_stderr`` is a standard error over documents; None with a single document."""

    bits_per_byte: float
    """Bits per byte of held-out documents."""
    bits_per_byte_stderr: float | None
    unigram_bits_per_byte: float
    """The same with token frequencies only."""
    xz_bits_per_byte: float
    accuracy: float
    """Share of the questions for which the model prefers the real continuation."""
    accuracy_stderr: float | None
    accuracy_likelihood: float
    """The same by likelihood alone, which is unfavourable to long choices."""
    overlap_accuracy: float
    """The same by counting shared trigrams."""
    overlap_accuracy_stderr: float | None
    chance: float
    documents: int
    documents_asked: int
    documents_restored: int
    """Documents that the tokenizer restores exactly."""
    questions: int
    questions_asked: int
    heldout_bytes: int
    heldout_tokens: int
    suites: dict[str, Any]
    """Suite → kind, items, items that normalising makes unreadable, and its scores."""


class GenerationSamples(Results):
    """Statistics of the generated samples."""

    samples: int
    expected: int
    """Prompts times temperatures."""
    empty: int
    """Samples without tokens."""
    tokens: int
    tokens_per_second: float = volatile()
    temperatures: dict[str, Any]
    """Temperature → mean length (tokens), and share of distinct tokens."""
