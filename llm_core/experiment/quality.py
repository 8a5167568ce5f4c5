"""The section about the quality classifier, which is trained in the graph."""

from typing import Annotated

from pydantic import Field, model_validator

from llm_core.experiment.base import Count, Spec, outside_identity
from llm_core.experiment.component import KindOf
from llm_core.experiment.paths import YamlPath
from llm_core.experiment.sources import SourceSpec
from llm_core.registries import SOURCES

OpenShare = Annotated[float, Field(gt=0, lt=1)]
Examples = Annotated[SourceSpec, KindOf(SOURCES, default="files")]


class LabelledSpec(Spec):
    """A file of labelled examples: one JSON object per line, with a text and a label."""

    path: Annotated[YamlPath, outside_identity()]
    """A .jsonl file, plain or with .gz or .zst. A relative path starts at the folder of the experiment's file. Its
    content is part of the identity, its path is not."""
    text_field: str = "text"
    """The key of the text."""
    label_field: str = "label"
    """The key of the label: a string for ``good_labels``, a number for ``min_label``."""
    good_labels: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The labels of good texts; all others are the other class. Give this or ``min_label``."""
    min_label: float | None = None
    """Texts with at least this number are good; all others are the other class."""

    @model_validator(mode="after")
    def _one_kind_of_label(self) -> "LabelledSpec":
        if (self.good_labels is None) == (self.min_label is None):
            raise ValueError(
                "give 'good_labels' (labels are strings) or 'min_label' (labels are numbers), and not both"
            )
        return self


class ClassifierSpec(Spec):
    """Logistic regression on the hashed words and word pairs of a text, trained by gradient descent."""

    bits: Annotated[int, Field(ge=10, le=24)] = 20
    """There are 2^bits weights of 4 bytes. Words with the same hash share a weight."""
    epochs: Count = 5
    """The number of training passes over all examples."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 0.5
    """The rate at the first example. It falls linearly to 0. Far above 1, all scores are 0 or 1, and no bound separates
    them."""
    max_examples: Annotated[int, Field(ge=100)] = 20_000
    """Maximum number of documents per class: those whose texts have the lowest hashes. A tenth of them is held out."""


class QualitySpec(Spec):
    """A classifier learns to separate good texts from other texts. Documents with a low score are dropped.

    Examples come from ``good`` and ``any``, or from ``labelled``. The bound is ``keep_share`` or ``min_score``.
    """

    good: Examples | None = None
    """A source of good texts, like one of ``raw.sources``: ``{paths: [...]}`` is one of kind ``files``. Give this or
    ``labelled``."""
    any: Examples | None = None
    """A source of ordinary texts, which the good ones are told from. null: a sample of the experiment's own cleaned
    documents."""
    labelled: LabelledSpec | None = None
    """Examples of both classes in one file."""
    keep_share: OpenShare | None = None
    """The share of documents to keep, more than 0 and less than 1. The bound for this share is set once, on texts that
    the classifier was not trained on: the held-out texts of ``any``; with ``labelled``, a sample of the experiment's
    own cleaned documents. Give this or ``min_score``."""
    min_score: OpenShare | None = None
    """Documents with a lower score are dropped. A score is the classifier's probability (0 to 1) that a text is good,
    if both classes are equally frequent."""
    classifier: ClassifierSpec = ClassifierSpec()

    @property
    def samples_documents(self) -> bool:
        """Whether the experiment's own documents are sampled. Then a change of them trains the classifier again."""
        if self.labelled is not None:
            return self.keep_share is not None
        return self.any is None

    @model_validator(mode="after")
    def _agrees(self) -> "QualitySpec":
        if (self.good is None) == (self.labelled is None):
            raise ValueError("give 'good' (files of good texts) or 'labelled' (a file with labels), and not both")
        if self.labelled is not None and self.any is not None:
            raise ValueError("'labelled' contains both classes; remove 'any'")
        if (self.keep_share is None) == (self.min_score is None):
            raise ValueError("give 'keep_share' or 'min_score', and not both")
        return self
