"""The results of the reports."""

from typing import Any

from llm_core.evals.results import Interval
from llm_core.graph.results import Results, volatile


class Page(Results):
    """A page with its figures."""

    page_bytes: int
    figures: dict[str, str]
    """Figure → its file in the artifact."""


class DataReport(Page):
    """The data report."""

    raw_documents: int
    raw_bytes: int
    train_documents: int
    train_bytes: int
    unaccounted: list[str]
    """Messages about documents that are missing between two stages."""
    drops: dict[str, Any]
    """Stage → rule → dropped documents."""
    train_tokens_by_source: dict[str, int]


class TrainingReport(Page):
    """The headline numbers of the training report; see ``EvalResults`` and ``TrainingResults``."""

    bits_per_byte: float
    bits_per_byte_interval: Interval = None
    unigram_bits_per_byte: float
    xz_bits_per_byte: float
    below_unigram: float
    """Share of the unigram's bits per byte that the model saves."""
    accuracy: float
    accuracy_interval: Interval = None
    overlap_accuracy: float
    overlap_accuracy_interval: Interval = None
    chance: float
    parameters: int
    tokens: int | None
    """None, as for all that follows about the full run, where there was none: a finished model was only tuned."""
    final_validation_loss: float | None = volatile()
    seconds_training: float | None = volatile()
    seconds_total: float = volatile()
    """Seconds of all stages."""
    gpu_hours: float | None = volatile()
    """None when no GPU was used."""
    cost_dollars: float | None = volatile()
