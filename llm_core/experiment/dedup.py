"""The sections about deduplication, decontamination and the held-out split."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Share, Spec


class MinHashSpec(Spec):
    """MinHash settings for near duplicates (Broder, 1997; the parameters of Lee et al., 2022, and FineWeb).

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
    """The minimum estimated similarity of near duplicates. They must also share a band."""

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
    """Lines or paragraphs that repeat across the corpus: the first one stays, the others are removed."""

    unit: Literal["line", "paragraph"] = "paragraph"
    """A paragraph ends at an empty line. Units are compared exactly, except for white space at their ends."""
    min_bytes: Count = 40
    """Shorter units stay: they are as often headings and formulas as repeats."""


class DedupSpec(Spec):
    """Which documents count as the same, and which of them stays."""

    method: Literal["minhash", "exact", "none"] = "minhash"
    """``exact``: equal folded texts; ``minhash``: near duplicates too. Signatures are computed in any case, because
    the split's leakage check needs them."""
    minhash: MinHashSpec = MinHashSpec()
    keep: Literal["first", "longest"] = "first"
    """The document of a cluster that stays: first by source, origin and row; or the longest, in bytes."""
    prefer: tuple[str, ...] = ()
    """Sources whose documents are preferred, the best first. Takes precedence over ``keep``."""
    repeated_units: RepeatedUnitsSpec | None = None
    """Lines or paragraphs to be removed from the documents that stay; ``null``: none."""

    @model_validator(mode="after")
    def _preferred_once(self) -> "DedupSpec":
        if len(set(self.prefer)) != len(self.prefer):
            raise ValueError(f"prefer names a source twice: {', '.join(self.prefer)}")
        return self


class DecontaminationSpec(Spec):
    """When a document contains an eval item (n-gram overlap: Brown et al., 2020). Without suites, none is dropped."""

    ngram_words: Annotated[int, Field(ge=5, le=50)] = 13
    """Consecutive words that are looked for in documents."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The minimum share of an item's n-grams that a contaminated document contains (at least one n-gram)."""
    long_item: Count = 100
    """An item with more n-grams counts as if it had only this many: part of a long text is contamination too."""
    min_words: Count = 8
    """Items with fewer words than an n-gram must occur as a whole. Items with fewer words than this are ignored,
    because such sentences occur by chance. Words are separated by white space."""

    @model_validator(mode="after")
    def _short_is_shorter(self) -> "DecontaminationSpec":
        if self.min_words > self.ngram_words:
            raise ValueError(f"min_words {self.min_words} must be at most ngram_words {self.ngram_words}")
        return self


class SplitSpec(Spec):
    """The held-out split, chosen by document hash: a document keeps its side when the corpus grows."""

    heldout_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    """The share of the documents that no model is trained on."""
    salt: str = "pedigree"
    """Any text; another one chooses other documents."""
