"""The results of the index and of its evaluation."""

from typing import Any

from llm_core.graph.results import Results

Interval = tuple[float, float] | None


class RetrievalIndex(Results):
    """What was indexed."""

    documents: int
    passages: int
    words: int
    """Different words."""
    mean_characters: float
    """Of a passage."""
    with_url: int
    """Passages of documents with a URL."""


class RetrievalEval(Results):
    """What passages bring, on questions from held-out documents. Intervals are 95% intervals over documents."""

    questions: int
    questions_asked: int
    too_long: int
    """Questions that were left out, since the gold passage and the question do not fit into the model's context."""
    recall: dict[str, dict[str, Any]]
    """k → the share of the questions whose gold passage is among the k best."""
    scores: dict[str, dict[str, Any]]
    """closed_book, gold_passage, retrieved → ``accuracy`` and ``bits_per_byte`` of the right answer, with intervals."""
    gains: dict[str, dict[str, Any]]
    """gold_passage, retrieved → the differences from closed_book, question by question, with intervals."""
    passages_read: float
    """Retrieved passages per question that fit into the context."""
    overlap_accuracy: float
    """Without a model: the choice that shares most trigrams with the retrieved passages."""
    overlap_accuracy_interval: Interval
    chance: float
