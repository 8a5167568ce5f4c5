"""Results of the stages that make documents."""

from typing import Any

from llm_core.graph.results import Results, volatile


class DocumentsResults(Results):
    """What every stage of documents reports."""

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
    """Records that were set aside, including those without text."""
    bad_records_by_reason: dict[str, int]
    without_text: int
    """Records without text where that is no fault of the file (a web page of menus alone)."""
    skipped_by_kind: dict[str, int]
    """Kind → records that are not read because of a condition of ``where`` or because of their kind."""
    unread_files_by_source: dict[str, Any] = volatile()
    """Source → files of its folders that are not read. No digest covers them, so no later stage may depend on them."""
    empty_files_by_source: dict[str, Any]
    """Source → files without a record: their number, and the first names."""


class FunnelResults(DocumentsResults):
    """What every stage that drops documents reports."""

    documents_in: int
    bytes_in: int
    dropped: int
    """Dropped documents."""
    dropped_by_rule: dict[str, int]
    """Rule → documents, for every rule that could drop one."""
    funnel: dict[str, Any]
    """Source → {documents_in, bytes_in, documents, bytes, dropped: {rule: {documents, bytes}}}."""


class CleanDocuments(FunnelResults):
    """What cleaning did."""

    parts: int
    empty_parts: int
    """Parts without a remaining document."""
    drop_share: float
    """Dropped documents per document that came in."""
    removed_bytes: dict[str, int]
    """Step (lines, normalising, redactions, repair) → bytes that it removed from documents that were kept."""
    redactions: dict[str, Any]
    """Redaction → documents and matches."""
    lines: dict[str, Any]
    """Line rule → lines and bytes that it removed."""
    languages: dict[str, int]
    """Language → documents, if the experiment selects languages."""
    documents_with_url: int
    mojibake: int
    """Documents with wrongly decoded text, including those that were repaired."""
    replacement_characters: int
    """Documents with U+FFFD."""
    unspaced: int
    """Documents in a script without spaces; counted only if a rule counts words."""
    repaired: int
    normalising_changed: int
    """Documents that normalising changed."""
    lengths: dict[str, int]
    """Power of two → documents: ``"10"`` counts those of 1,024 to 2,047 bytes."""


class QualityClassifier(Results):
    """What the classifier learned."""

    examples: dict[str, int]
    """Class → examples."""
    held_out: dict[str, int]
    """Class → examples that it was not trained on, but evaluated on."""
    auc: float
    """Area under the ROC curve, on held-out examples; 0.5 is chance."""
    accuracy: float
    """Balanced accuracy at a threshold of 0.5, on held-out examples."""
    bound: float
    """The lowest score at which a document is kept."""
    keep_share: float | None
    """The share of documents that ``bound`` was chosen to keep; None if the experiment gives the bound."""
    kept_of_good: float
    """The share of held-out good examples that reach the bound."""
    kept_of_judged: float
    """The share of the texts from which the bound was chosen that reach it."""
    judged: int
    """The number of these texts."""


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
    """Documents whose doc_id another document has, too."""
    repeated_units: dict[str, int]
    """Repeated lines or paragraphs that were removed: documents, units and bytes."""
    clusters: int
    """Groups of equal or nearly equal documents."""
    clusters_across_sources: int
    largest_cluster: int
    """Documents in the largest cluster."""


class DecontaminatedDocuments(FunnelResults):
    """What was found of the eval suites."""

    contaminated_share: float
    """Dropped documents per document that came in."""
    suites: dict[str, Any]
    """Suite → items, items too short to be found, recall of planted items, wrongly decoded texts."""


class PretrainingDocuments(FunnelResults):
    """The two splits."""

    train_documents: int
    train_bytes: int
    heldout_documents: int
    heldout_bytes: int
    heldout_share: float
    """Held-out documents per document."""
    in_both_splits: int
    """Documents whose folded text is in both splits."""
    nearly_in_both_splits: int
    """Training documents that are near duplicates of a held-out document."""
    repeated_doc_ids: int
    heldout_usable: int = volatile()
    """Held-out documents long enough for a question of the evaluation. Nothing else depends on this number."""
    heldout_needed: int = volatile()
    """The number of documents that the choices of a question come from."""
    heldout_characters: int = volatile()
    """The number of characters that a question needs."""


class IdeaDocuments(FunnelResults):
    """The training documents of an idea. The held-out ones are the launched."""

    heldout_documents: int
    leaked: int
    """Training documents that are held-out ones, in another form or nearly."""
