"""The results of the evaluation and the samples."""

from typing import Any

from llm_core.graph.results import Results, volatile

Interval = tuple[float, float] | None


class EvalResults(Results):
    """Scores of a model. A ``_stderr`` is a standard error over documents, an ``_interval`` the bounds of the 95%
    interval; both are None with a single document."""

    bits_per_byte: float
    """Bits per byte of held-out documents."""
    bits_per_byte_stderr: float | None
    bits_per_byte_interval: Interval = None
    unigram_bits_per_byte: float
    """The same with token frequencies only."""
    unigram_bits_per_byte_interval: Interval = None
    xz_bits_per_byte: float
    accuracy: float
    """Share of the questions for which the model prefers the real continuation."""
    accuracy_stderr: float | None
    accuracy_interval: Interval = None
    accuracy_likelihood: float
    """The same by likelihood alone, which is unfavourable to long choices."""
    accuracy_likelihood_interval: Interval = None
    overlap_accuracy: float
    """The same by counting shared trigrams."""
    overlap_accuracy_stderr: float | None
    overlap_accuracy_interval: Interval = None
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
    """Suite → kind, items, items that normalising makes unreadable, and its scores with their 95% intervals. The items
    of a paradigm count as one cluster. With ``few_shot`` also how many prompts have fewer solved items
    (``prompts_shortened``)."""

    centred: dict[str, Any] | None = None
    """The centred score over the suites that have an accuracy (``llm_core.evals.centred``): value, 95% interval, and
    the tasks. None without any."""


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
