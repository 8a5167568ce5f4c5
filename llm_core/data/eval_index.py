"""An index of the eval texts by their word n-grams (*runs*): no training document should contain these texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from llm_core.data.kernels.buffers import Texts, to_texts
from llm_core.data.kernels.folding import fold
from llm_core.data.kernels.ngrams import filter_shift, find_items, run_hashes, sparse_filter, word_counts
from llm_core.data.kernels.word_counts import run_lengths
from llm_core.data.mojibake import REPLACEMENT, has_mojibake
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.suites import Item, read_suite, renderings, suite_texts
from llm_core.experiment.dedup import DecontaminationSpec
from llm_core.experiment.suites import SuiteSpec

PLANTED = 400
"""Items of a suite that are planted into texts to measure recall."""


class _Runs(NamedTuple):
    """Runs of words, one per text that contains the run, grouped by the hash with which it is looked up.

    ``hashes``: uint64, ascending, distinct. The runs with hash number ``h`` are ``starts[h]`` to ``starts[h + 1]``,
    sorted by their text ``of`` (int32). ``fulls``: uint64, hashes of all words of a run. ``bits``: the
    ``sparse_filter`` of the hashes.
    """

    bits: np.ndarray
    hashes: np.ndarray
    starts: np.ndarray
    fulls: np.ndarray
    of: np.ndarray


FILES = {"texts": "texts.parquet", **{name: f"{name}.npy" for name in _Runs._fields}}
"""The files of an index."""


class EvalIndex:
    """``texts`` has a row per eval text: suite, item, words, ``length`` of its runs (0: too short to be searched for),
    the number of different ``runs``, how many of them are ``needed`` for a match, and whether it has ``mojibake`` or
    U+FFFD. The number of a text is its row.
    """

    def __init__(self, texts: pl.DataFrame, runs: _Runs, spec: DecontaminationSpec) -> None:
        self.texts = texts
        self._longest = spec.ngram_words
        self._lengths = texts["length"].to_numpy()
        self._shortest = _shortest(self._lengths, spec)
        self._runs = runs

    @classmethod
    def of(cls, suites: Sequence[SuiteSpec], spec: DecontaminationSpec) -> "EvalIndex":
        """The index of all texts of ``suites``. Raises ``PedigreeError`` for a suite that can't be read."""
        return cls.of_items({suite: read_suite(suite) for suite in suites}, spec)

    @classmethod
    def of_items(cls, items: Mapping[SuiteSpec, Sequence[Item]], spec: DecontaminationSpec) -> "EvalIndex":
        """The index of all texts of ``items``."""
        rows = [(suite.name, *row) for suite, own in items.items() for row in suite_texts(suite, own)]
        texts = pl.DataFrame(rows, schema={"suite": pl.String, "item": pl.String, "text": pl.String}, orient="row")
        folded = fold(texts["text"])
        words = word_counts(*folded)
        # Folding removes single signs: a sentence with a space before its full stop has one word less.
        spaced = run_lengths(to_texts(texts["text"]))["runs"]
        looked_for = (spaced >= spec.min_words) & (words >= spec.min_words - 1)
        lengths = np.where(looked_for, np.minimum(words, spec.ngram_words), 0)
        shortest = _shortest(lengths, spec)
        counts = np.where(lengths > 0, words - lengths + 1, 0)
        starts = np.append(0, np.cumsum(counts))
        fulls = run_hashes(*folded, lengths, starts)
        hashes = fulls.copy()
        short = (lengths > 0) & (lengths < spec.ngram_words)  # such a text is one run, and its last words look it up
        stops = np.cumsum(np.where(short, words - shortest + 1, 0))
        last = run_hashes(*folded, np.full(len(words), shortest), np.append(0, stops))
        hashes[starts[:-1][short]] = last[stops[short] - 1]
        runs = _looked_up(hashes, fulls, np.repeat(np.arange(len(words), dtype=np.int32), counts))
        totals = np.bincount(runs.of, minlength=len(words))
        needed = np.ceil(spec.threshold * np.minimum(totals, spec.long_item) - 1e-9).clip(min=1)
        columns = {"words": words, "length": lengths, "runs": totals, "needed": needed.astype(np.int64)}
        wrong = has_mojibake(texts["text"]) | texts["text"].str.contains(REPLACEMENT, literal=True)
        return cls(texts.select("suite", "item", mojibake=wrong, **columns), runs, spec)

    def save(self, folder: Path) -> None:
        """Write the ``FILES`` into ``folder``."""
        write_part(folder / FILES["texts"], self.texts)
        for name, column in self._runs._asdict().items():
            np.save(folder / FILES[name], column)

    @classmethod
    def load(cls, files: Mapping[str, Path], spec: DecontaminationSpec) -> "EvalIndex":
        """The index in ``files``, by the names in ``FILES``. The runs are memory-mapped, so processes share them."""
        runs = _Runs(*(np.asarray(np.load(files[name], mmap_mode="r")) for name in _Runs._fields))
        return cls(read_part(files["texts"]), runs, spec)

    def find(self, folded: Texts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(number of the eval text in each folded document, or -1; the share of it; which eval texts were found)."""
        found: tuple[np.ndarray, np.ndarray, np.ndarray] = find_items(
            *folded,
            self._shortest,
            self._longest,
            self._runs.bits,
            filter_shift(self._runs.bits),
            *self._runs[1:],
            self._lengths,
            self.texts["runs"].to_numpy(),
            self.texts["needed"].to_numpy(),
            np.zeros(len(self._runs.fulls), dtype=np.int64),
        )
        return found


def _looked_up(hashes: np.ndarray, fulls: np.ndarray, texts: np.ndarray) -> _Runs:
    """The runs grouped by hash. They come in the order of their ``texts``."""
    runs = pl.DataFrame({"hash": hashes, "full": fulls, "text": texts}).sort("hash", maintain_order=True)
    hashes, fulls, texts = (column.to_numpy() for column in runs)
    begins = _differ(hashes)
    different = begins | _differ(texts)  # a text is one run, or its equal runs have equal hashes
    begins = begins[different]
    starts = np.append(np.flatnonzero(begins), len(begins))
    hashes = hashes[different][begins]
    return _Runs(sparse_filter(hashes), hashes, starts, fulls[different], texts[different])


def _differ(values: np.ndarray) -> np.ndarray:
    """Where ``values`` differ from the value before."""
    differ = np.ones(len(values), dtype=bool)
    differ[1:] = values[1:] != values[:-1]
    return differ


def recall(index: EvalIndex, items: Mapping[SuiteSpec, Sequence[Item]]) -> dict[str, dict[str, dict[str, int]]]:
    """Suite → rendering → the number of ``planted`` items, and of those ``found`` again.

    At most ``PLANTED`` items of a suite are planted, spread over its file, including those that are too short to be
    found.
    """
    planted = pl.DataFrame(
        [
            (suite.name, name, f"Somebody wrote this: {text}\nThat was all.")
            for suite, own in items.items()
            for item in own[:: -(-len(own) // PLANTED)]
            for name, text in renderings(suite, item).items()
        ],
        schema={"suite": pl.String, "rendering": pl.String, "text": pl.String},
        orient="row",
    )
    found_again = planted.with_columns(found=index.find(fold(planted["text"]))[0] >= 0)
    groups = found_again.group_by("suite", "rendering", maintain_order=True)
    counts = groups.agg(planted=pl.len(), found=pl.col("found").sum())
    recalls: dict[str, dict[str, dict[str, int]]] = {}
    for suite, rendering, count, found in counts.iter_rows():
        recalls.setdefault(suite, {})[rendering] = {"planted": count, "found": found}
    return recalls


def _shortest(lengths: np.ndarray, spec: DecontaminationSpec) -> int:
    """The number of words in the shortest run."""
    return int(lengths[lengths > 0].min(initial=spec.min_words))
