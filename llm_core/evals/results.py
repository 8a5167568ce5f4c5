"""What the evaluation and the samples measured."""

from typing import Any

from llm_core.graph.results import Results, volatile


class EvalResults(Results):
    """Scores of a model. A ``_stderr`` is a standard error over documents; None where one document decides all."""

    bits_per_byte: float
    """Of held-out documents."""
    bits_per_byte_stderr: float | None
    unigram_bits_per_byte: float
    """What the frequencies of tokens alone reach."""
    xz_bits_per_byte: float
    accuracy: float
    """Share of the questions whose real continuation the model prefers."""
    accuracy_stderr: float | None
    accuracy_likelihood: float
    """The same by likelihood alone, where long choices lose."""
    overlap_accuracy: float
    """What counting shared letters reaches."""
    overlap_accuracy_stderr: float | None
    chance: float
    documents: int
    documents_asked: int
    documents_restored: int
    """Documents that the tokenizer gives back as they were."""
    questions: int
    questions_asked: int
    heldout_bytes: int
    heldout_tokens: int
    suites: dict[str, Any]
    """Suite → kind, items, items that the form of documents leaves nothing of, and its scores."""


class GenerationSamples(Results):
    """How the prompts were continued."""

    samples: int
    expected: int
    """Prompts times temperatures."""
    empty: int
    """Samples of no token."""
    tokens: int
    tokens_per_second: float = volatile()
    temperatures: dict[str, Any]
    """Temperature → mean length, and share of distinct tokens."""
