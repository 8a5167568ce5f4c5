"""Building blocks of rules: the text, counts of its words and lines, and shares of them.

All rules have the same definitions. Words: runs without white space, or as datatrove counts them (``cleaning.words``
chooses). Lines, paragraphs and sentences: see ``llm_core.data.kernels.line_counts``. A share of nothing is 0, never
NaN.
"""

from collections.abc import Callable, Mapping
from functools import cache, cached_property

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import Texts, to_texts
from llm_core.data.kernels.english_words import english_words
from llm_core.data.kernels.line_counts import line_counts
from llm_core.data.kernels.repeats import repeats
from llm_core.data.kernels.word_counts import run_lengths, word_counts
from llm_core.data.kernels.words import Words, spaced_words
from llm_core.experiment.cleaning import WordUnit

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")


class Batch:
    """Texts to count, and their words, which several measures share."""

    def __init__(self, column: pl.Series, unit: WordUnit) -> None:
        self._column = column
        self._unit = unit

    @cached_property
    def texts(self) -> Texts:
        """The bytes."""
        return to_texts(self._column)

    @cached_property
    def words(self) -> Words:
        """All words."""
        return _WORDS[self._unit](self.texts)


_WORDS: dict[WordUnit, Callable[[Texts], Words]] = {"spaces": spaced_words, "english": english_words}

Measure = Callable[[Batch], Mapping[str, np.ndarray]]


def text() -> pl.Expr:
    """The text that is judged."""
    return pl.col("text")


def statistic(measure: Measure, name: str) -> pl.Expr:
    """The count ``name`` of ``measure``, a top-level function; the column's name has its address."""
    return pl.col(f"{measure.__module__}:{measure.__name__}/{name}")


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part`` / ``whole``; 0 where there is nothing."""
    return pl.when(whole > 0).then(part / whole).otherwise(0.0)


def of_words(batch: Batch) -> Mapping[str, np.ndarray]:
    """Measure: ``word_counts``; the listed words are Gopher's stop words."""
    return word_counts(batch.words, _stop_word_hashes())


def of_lines(batch: Batch) -> Mapping[str, np.ndarray]:
    """Measure: ``line_counts``."""
    return line_counts(batch.texts)


def of_repeats(batch: Batch) -> Mapping[str, np.ndarray]:
    """Measure: ``repeats``."""
    return repeats(batch.words)


def of_runs(batch: Batch) -> Mapping[str, np.ndarray]:
    """Measure: ``run_lengths``."""
    return run_lengths(batch.texts)


@cache
def _stop_word_hashes() -> np.ndarray:
    return spaced_words(to_texts(pl.Series(STOP_WORDS))).hashes
