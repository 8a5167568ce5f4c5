"""What the stages of documents measured."""

from typing import Any

from llm_core.graph.results import Results, volatile


class DocumentsResults(Results):
    """What a stage of documents left."""

    documents: int
    bytes: int
    """Of their texts, in UTF-8."""


class RawDocuments(DocumentsResults):
    """What was read from the sources."""

    documents_by_source: dict[str, int]
    bytes_by_source: dict[str, int]
    files_by_source: dict[str, int]
    bad_by_source: dict[str, int]
    """Source → records that were set aside."""
    bad_records: int
    """Records that were set aside, those without a text too."""
    bad_records_by_reason: dict[str, int]
    without_text: int
    """Records that have no text, as is to be expected of some."""
    skipped_by_kind: dict[str, int]
    """Records that a condition or their kind left out."""
    left_out_by_source: dict[str, Any] = volatile()
    """Source → files of its folders that are not read. No digest covers them, so they may not count in what follows."""
    empty_files_by_source: dict[str, Any]
    """Source → files without a record: how many, and the first."""


class FunnelResults(DocumentsResults):
    """What a stage that drops documents left of them."""

    documents_in: int
    bytes_in: int
    dropped: int
    """Documents."""
    dropped_by_rule: dict[str, int]
    """Rule → documents, of all rules that could drop one."""
    funnel: dict[str, Any]
    """Source → {documents_in, bytes_in, documents, bytes, dropped: {rule: {documents, bytes}}}."""


class CleanDocuments(FunnelResults):
    """What cleaning did."""

    parts: int
    empty_parts: int
    """Parts of which no document is left."""
    drop_share: float
    """Dropped documents per document that came in."""
    removed_bytes: dict[str, int]
    """What took bytes out of documents that stayed (lines, normalising, redactions, repair) → bytes."""
    redactions: dict[str, Any]
    """Redaction → documents and places."""
    lines: dict[str, Any]
    """Line rule → documents and lines that it took."""
    languages: dict[str, int]
    """Language → documents, where one is asked for."""
    documents_with_url: int
    mojibake: int
    """Documents that hold wrongly decoded text, the repaired ones too."""
    replacement_characters: int
    """Documents that hold U+FFFD."""
    unspaced: int
    """Documents in a writing without spaces, while a rule counts words."""
    repaired: int
    normalising_changed: int
    """Documents whose text normalising changed."""
    lengths: dict[str, int]
    """Power of two → documents: ``"10"`` counts those of 1,024 to 2,047 bytes."""


class QualityClassifier(Results):
    """What the classifier learned."""

    examples: dict[str, int]
    """Class → examples."""
    held_out: dict[str, int]
    """Class → examples that it was not trained on, and that it is judged by."""
    auc: float
    """Area under the ROC curve, on held-out examples; 0.5 is chance."""
    accuracy: float
    """Mean of both classes, at a score of 0.5, on held-out examples."""
    bound: float
    """The lowest score of a document that is kept."""
    keep_share: float | None
    """The share of documents that ``bound`` was set by; None where it was given."""
    kept_of_good: float
    """Share of the held-out good examples that reach the bound."""
    kept_of_judged: float
    """Share of the texts that the bound was set by that reach it."""
    judged: int
    """How many these are."""


class JudgedDocuments(FunnelResults):
    """What the classifier dropped."""

    kept_share: float
    keep_share: float | None
    """See ``QualityClassifier``."""
    bound: float
    """See ``QualityClassifier``."""
    scores: dict[str, list[int]]
    """Source → documents per tenth of the scale from 0 to 1."""


class UniqueDocuments(FunnelResults):
    """What deduplication did."""

    duplicate_share: float
    """Dropped documents per document that came in."""
    repeated_doc_ids: int
    """Documents whose doc_id another one has, too."""
    repeated_units: dict[str, int]
    """Of the lines or paragraphs that repeat: documents, units and bytes."""
    clusters: int
    """Sets of equal or nearly equal documents."""
    clusters_across_sources: int
    largest_cluster: int
    """Documents of the largest one."""


class DecontaminatedDocuments(FunnelResults):
    """What was found of eval suites."""

    contaminated_share: float
    """Dropped documents per document that came in."""
    suites: dict[str, Any]
    """Suite → items, those too short to be found, recall of planted items, wrongly decoded texts."""


class PretrainingDocuments(FunnelResults):
    """The two splits."""

    train_documents: int
    train_bytes: int
    heldout_documents: int
    heldout_bytes: int
    heldout_share: float
    """Held-out documents per document."""
    in_both_splits: int
    """Documents whose folded text stands in both."""
    nearly_in_both_splits: int
    """Documents to train on that are near duplicates of a held-out one."""
    repeated_doc_ids: int
    heldout_usable: int = volatile()
    """Held-out documents that a question can be made of. Judged here for the evaluation; nothing else depends on it."""
    heldout_needed: int = volatile()
    """How many the choices of a question come from."""
    heldout_characters: int = volatile()
    """Characters that a question takes."""
