"""The section ``retrieval``: passages that a model reads before it answers, and that the answer cites."""

from pydantic import Field

from llm_core.experiment.base import Count, Share, Spec
from llm_core.experiment.sources import RawSpec


class RetrievalSpec(Spec):
    """An index of passages by their words: BM25 (Robertson and Zaragoza, 2009)."""

    documents: RawSpec | None = None
    """Where the passages come from, as in ``raw``. null: the documents of the experiment, the held-out ones too."""
    passage_characters: Count = 600
    """The longest passage. Passages end between paragraphs, sentences or words."""
    most_passages: Count = 2_000_000
    """The index is held in memory. More passages than this are an error, and nothing is left out in silence."""
    passages: Count = 3
    """How many the model reads, at most. What does not fit into its context is left out, the least alike first."""
    k1: float = Field(default=1.5, ge=0)
    """How much a repeated word adds."""
    b: Share = 0.75
    """How much the length of a passage counts."""
    questions: Count = 200
    """Questions from held-out documents that measure what the passages bring."""
    query_words: Count = 12
    """Words of a question."""
    choices: int = Field(default=4, ge=2)
    """The possible answers to a question."""
