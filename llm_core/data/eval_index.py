"""The eval texts that no training document should hold, as an index of their runs of words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import Texts
from llm_core.data.kernels.folding import fold
from llm_core.data.kernels.ngrams import find_items, run_hashes, sparse_filter, word_counts
from llm_core.data.parts import read_part, write_part
from llm_core.data.suites import suite_texts
from llm_core.experiment.dedup import DecontaminationSpec
from llm_core.experiment.suites import SuiteSpec

_RUN = np.dtype([("hash", "<u8"), ("full", "<u8"), ("length", "<u4"), ("text", "<u4")])
"""A run of ``length`` words of a text. ``full``: the hash of them all; ``hash``: by which it is looked up."""


class EvalIndex:
    """``texts``: suite, item, words, ``length`` of the runs that are looked for (0: too short to be looked for), how
    many different ``runs`` there are, and how many of them are ``needed``. The number of a text is its row.
    """

    def __init__(self, texts: pl.DataFrame, runs: np.ndarray, spec: DecontaminationSpec) -> None:
        self.texts = texts
        self._spec = spec
        self._runs = runs
        begins = np.ones(len(runs), dtype=bool)
        begins[1:] = runs["hash"][1:] != runs["hash"][:-1]
        self._hashes = np.ascontiguousarray(runs["hash"][begins])
        self._starts = np.append(np.flatnonzero(begins), len(runs))
        self._filter = sparse_filter(self._hashes)

    @classmethod
    def of(cls, suites: Sequence[SuiteSpec], spec: DecontaminationSpec) -> "EvalIndex":
        """The index of all texts of ``suites``. Raises ``PedigreeError`` for a suite that can't be read."""
        rows = [(suite.name, item, text) for suite in suites for item, text in suite_texts(suite)]
        texts = pl.DataFrame(rows, schema={"suite": pl.String, "item": pl.String, "text": pl.String}, orient="row")
        folded = fold(texts["text"])
        words = word_counts(*folded)
        lengths = np.where(words < spec.min_words, 0, np.minimum(words, spec.ngram_words))
        counts = np.where(lengths > 0, words - lengths + 1, 0)
        starts = np.append(0, np.cumsum(counts))
        runs = np.empty(starts[-1], dtype=_RUN)
        runs["text"] = np.repeat(np.arange(len(words)), counts)
        runs["length"] = lengths[runs["text"]]
        runs["hash"] = runs["full"] = run_hashes(*folded, lengths, starts)
        short = (lengths > 0) & (lengths < spec.ngram_words)  # such a text is one run, looked up by its last words
        stops = np.cumsum(np.where(short, words - spec.min_words + 1, 0))
        last = run_hashes(*folded, np.full(len(words), spec.min_words), np.append(0, stops))
        runs["hash"][starts[:-1][short]] = last[stops[short] - 1]
        runs = runs[np.lexsort((runs["text"], runs["full"], runs["hash"]))]
        different = np.ones(len(runs), dtype=bool)
        different[1:] = runs[1:] != runs[:-1]
        runs = runs[different]
        totals = np.bincount(runs["text"], minlength=len(words))
        needed = np.ceil(spec.threshold * np.minimum(totals, spec.long_item) - 1e-9).clip(min=1)
        columns = {"words": words, "length": lengths, "runs": totals, "needed": needed.astype(np.int64)}
        told = texts.drop("text").with_columns(**{name: pl.Series(column) for name, column in columns.items()})
        return cls(told, runs, spec)

    def save(self, folder: Path) -> None:
        """Into two files in ``folder``."""
        write_part(folder / "texts.parquet", self.texts)
        np.save(folder / "runs.npy", self._runs)

    @classmethod
    def load(cls, texts: Path, runs: Path, spec: DecontaminationSpec) -> "EvalIndex":
        """From those files."""
        return cls(read_part(texts), np.load(runs), spec)

    def find(self, folded: Texts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(number of the eval text that each folded document holds, or -1; what share of it; which texts any holds)."""
        found: tuple[np.ndarray, np.ndarray, np.ndarray] = find_items(
            *folded,
            self._spec.min_words,
            self._spec.ngram_words,
            *self._filter,
            self._hashes,
            self._starts,
            np.ascontiguousarray(self._runs["full"]),
            np.ascontiguousarray(self._runs["length"]),
            np.ascontiguousarray(self._runs["text"]),
            self.texts["runs"].to_numpy(),
            self.texts["needed"].to_numpy(),
        )
        return found
