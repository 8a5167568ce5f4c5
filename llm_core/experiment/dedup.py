"""The sections that say which documents stay, and on which side: deduplication, decontamination and split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Share, Spec


class MinHashSpec(Spec):
    """When two documents are near duplicates (Broder, 1997; the parameters of Lee et al., 2022, and FineWeb).

    Two documents of Jaccard similarity J share one of the ``bands`` of ``rows`` permutations each with probability
    1 - (1 - J^rows)^bands: 0.05 at J = 0.5, 0.56 at 0.7, 0.92 at 0.8 for 14 bands of 8.
    """

    shingle_words: Count = 5
    """Consecutive words that are compared as one."""
    bands: Count = 14
    """Groups of permutations; two documents that agree in one are compared."""
    rows: Count = 8
    """Permutations of a band."""
    min_similarity: Share = 0.65
    """What the estimated similarity of two documents must be at least, beside a band that they share."""

    @property
    def permutations(self) -> int:
        """Numbers in a signature, of 4 bytes each."""
        return self.bands * self.rows

    @model_validator(mode="after")
    def _signature_is_small(self) -> "MinHashSpec":
        if self.permutations > 4096:
            raise ValueError(f"bands {self.bands} times rows {self.rows} is more than 4096 permutations a document")
        return self


class RepeatedUnitsSpec(Spec):
    """Lines or paragraphs that repeat across the corpus: the first one stays, the others go from their texts."""

    unit: Literal["line", "paragraph"] = "paragraph"
    """A paragraph ends at an empty line. Units are compared as they are, but for white space at their ends."""
    min_bytes: Count = 40
    """Shorter units stay: they are headings and formulas as often as they are repeats."""


class DedupSpec(Spec):
    """Which documents count as the same, and which of them stays."""

    method: Literal["minhash", "exact", "none"] = "minhash"
    """``exact``: equal folded texts; ``minhash``: near duplicates too. Signatures are made in any case: the split's
    check for leakage needs them."""
    minhash: MinHashSpec = MinHashSpec()
    keep: Literal["first", "longest"] = "first"
    """The document of a cluster that stays: first by source, origin and row; or the longest, in bytes."""
    prefer: tuple[str, ...] = ()
    """Sources whose documents stay before those of others, the best first; above ``keep``."""
    repeated_units: RepeatedUnitsSpec | None = None
    """Lines or paragraphs to be removed from the documents that stay; ``null``: none."""

    @model_validator(mode="after")
    def _preferred_once(self) -> "DedupSpec":
        if len(set(self.prefer)) != len(self.prefer):
            raise ValueError(f"prefer names a source twice: {', '.join(self.prefer)}")
        return self


class DecontaminationSpec(Spec):
    """When a document holds an eval item (n-gram overlap: Brown et al., 2020). Without suites nothing is dropped."""

    ngram_words: Annotated[int, Field(ge=5, le=50)] = 13
    """Consecutive words that are looked for in documents."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The share of an item's n-grams that must stand in a document; at least one must."""
    long_item: Count = 100
    """An item of more n-grams than this counts as if it had so many: part of a long text is contamination too."""
    min_words: Count = 8
    """Texts of fewer words than an n-gram must stand in a document whole; those of fewer words than this are not looked
    for, since such sentences occur by chance. Words are counted as white space separates them."""

    @model_validator(mode="after")
    def _short_is_shorter(self) -> "DecontaminationSpec":
        if self.min_words > self.ngram_words:
            raise ValueError(f"min_words {self.min_words} is more than ngram_words {self.ngram_words}")
        return self


class SplitSpec(Spec):
    """The held-out split, chosen by document hash: it stays as it is when the corpus grows."""

    heldout_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    """The share of the documents that no model is trained on."""
    salt: str = "pedigree"
    """Any text; another one chooses other documents."""
