"""The eval texts that no training document should hold, as an index of their runs of words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import Texts, to_texts
from llm_core.data.kernels.folding import fold
from llm_core.data.kernels.ngrams import find_items, run_hashes, sparse_filter, word_counts
from llm_core.data.kernels.word_counts import run_lengths
from llm_core.data.mojibake import has_mojibake
from llm_core.data.parts import read_part, write_part
from llm_core.data.suites import read_suite, renderings, suite_texts
from llm_core.experiment.dedup import DecontaminationSpec
from llm_core.experiment.suites import SuiteSpec

_RUN = np.dtype([("hash", "<u8"), ("full", "<u8"), ("length", "<u4"), ("text", "<u4")])
"""A run of ``length`` words of a text. ``full``: the hash of them all; ``hash``: by which it is looked up."""


PLANTED = 400


class EvalIndex:
    """``texts``: suite, item, words, ``length`` of the runs that are looked for (0: too short to be looked for), how
    many different ``runs`` there are, and how many of them are ``needed``. The number of a text is its row.
    """

    def __init__(self, texts: pl.DataFrame, runs: np.ndarray, spec: DecontaminationSpec) -> None:
        self.texts = texts
        self._longest = spec.ngram_words
        self._shortest = _shortest(texts["length"].to_numpy(), spec)
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
        # Folding takes away signs that stand alone: a sentence with its full stop apart has one word less.
        spaced = run_lengths(to_texts(texts["text"]))["runs"]
        looked_for = (spaced >= spec.min_words) & (words >= spec.min_words - 1)
        lengths = np.where(looked_for, np.minimum(words, spec.ngram_words), 0)
        shortest = _shortest(lengths, spec)
        counts = np.where(lengths > 0, words - lengths + 1, 0)
        starts = np.append(0, np.cumsum(counts))
        runs = np.empty(starts[-1], dtype=_RUN)
        runs["text"] = np.repeat(np.arange(len(words)), counts)
        runs["length"] = lengths[runs["text"]]
        runs["hash"] = runs["full"] = run_hashes(*folded, lengths, starts)
        short = (lengths > 0) & (lengths < spec.ngram_words)  # such a text is one run, looked up by its last words
        stops = np.cumsum(np.where(short, words - shortest + 1, 0))
        last = run_hashes(*folded, np.full(len(words), shortest), np.append(0, stops))
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
            self._shortest,
            self._longest,
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


def recall(index: EvalIndex, suites: Sequence[SuiteSpec]) -> dict[str, dict[str, dict[str, int]]]:
    """Suite → rendering → how many of ``planted`` items are ``found`` in a text that holds them so.

    At most ``PLANTED`` items of a suite, spread over its file. Those that are too short to be looked for are planted,
    too.
    """
    told: dict[str, dict[str, dict[str, int]]] = {}
    for suite in suites:
        items = read_suite(suite)
        chosen = items[:: -(-len(items) // PLANTED)]
        for name in renderings(suite, items[0]):
            texts = [f"Somebody wrote this: {renderings(suite, item)[name]}\nThat was all." for item in chosen]
            found = index.find(fold(pl.Series(texts)))[0] >= 0
            told.setdefault(suite.name, {})[name] = {"planted": len(chosen), "found": int(found.sum())}
    return told


def broken(suites: Sequence[SuiteSpec]) -> dict[str, int]:
    """Suite → how many of its texts hold mojibake: no document that is decoded rightly matches them."""
    return {
        suite.name: int(has_mojibake(pl.Series([text for _, text in suite_texts(suite)], dtype=pl.String)).sum())
        for suite in suites
    }


def _shortest(lengths: np.ndarray, spec: DecontaminationSpec) -> int:
    """Words of the shortest run that is looked for."""
    return int(lengths[lengths > 0].min(initial=spec.min_words))
