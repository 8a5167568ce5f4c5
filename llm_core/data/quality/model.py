"""The classifier: trained on examples of two classes, it scores texts from 0 to 1."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from xxhash import xxh3_64_intdigest

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.linear import features, scores, train
from llm_core.data.kernels.words import pieces
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.quality.labelled import GOOD, REST
from llm_core.errors import PedigreeError
from llm_core.experiment.quality import ClassifierSpec
from llm_core.graph.part import PartWork

SAMPLE = "sample"
"""The side of documents that set the bound and are examples of neither class."""

LEAST = 20
"""The least number of examples per class: some are trained on, some are held out."""

HELD_OUT = 10
"""One text in so many is held out. Its hash decides, so equal texts are on one side."""

_ORDER_SEED = 1337
_BATCH_BYTES = 16 << 20
"""Bytes of text whose words are in memory at once; they take about six times as much."""


class Classifier:
    """``weights``: float32 [2^bits]. A score is the probability that a text is good, for equally frequent classes."""

    def __init__(self, weights: np.ndarray, bias: float) -> None:
        self.weights = weights
        self.bias = bias

    @classmethod
    def load(cls, weights: Path, bias: float) -> "Classifier":
        """The classifier with the weights in the file ``weights``."""
        return cls(np.load(weights), bias)

    def scores(self, texts: pl.Series) -> np.ndarray:
        """float64 [n]: the score of every text. A text without words has the score of the bias."""
        bits = len(self.weights).bit_length() - 1
        found = [scores(*features_of(batch, bits), self.weights, self.bias) for batch in _batches(texts)]
        return np.concatenate([np.empty(0), *found])


def features_of(texts: pl.Series, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(features of all texts, where each text's start), as ``llm_core.data.kernels.linear.features`` has them."""
    words = pieces(to_texts(texts))
    found, starts = features(words.hashes, words.bounds, bits)
    return found.copy(), starts  # a view would keep the whole buffer


def _batches(texts: pl.Series) -> Iterator[pl.Series]:
    sizes = texts.str.len_bytes().to_numpy().astype(np.int64)
    batch = (np.cumsum(sizes) - sizes) // _BATCH_BYTES
    bounds = [0, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), len(texts)]
    return (texts[first:stop] for first, stop in pairwise(bounds) if stop > first)


def train_part(work: PartWork, classifier: ClassifierSpec) -> dict[str, Any]:
    """``weights.npy``, and ``examples.parquet`` with ``side``, ``held_out`` and ``score`` of every example.

    The inputs' roles are ``<side> <name>``. Each side takes the texts with the lowest hashes, in the order of the
    hashes; equal texts count once. A text of both classes counts as good; on the other side it only helps to set the
    bound. Raises ``PedigreeError`` if a class has too few examples.
    """
    texts, hashes = {}, {}
    for side in (GOOD, REST, SAMPLE):
        paths = [path for role, path in work.inputs.items() if role.split(" ")[0] == side]
        texts[side], hashes[side] = _lowest(paths, classifier.max_examples)
    sides = np.repeat([GOOD, REST, SAMPLE], [len(hashes[side]) for side in (GOOD, REST, SAMPLE)])
    every = np.concatenate([hashes[side] for side in (GOOD, REST, SAMPLE)])
    held_out = every % HELD_OUT == 0
    in_class = (sides == GOOD) | ((sides == REST) & ~np.isin(every, hashes[GOOD]))
    _check_classes(sides, held_out, in_class)
    columns = pl.concat([texts[side] for side in (GOOD, REST, SAMPLE)])
    chosen = np.flatnonzero(in_class & ~held_out)
    model = _trained(columns, sides == GOOD, chosen, classifier)
    found = pl.DataFrame(
        {"side": sides, "held_out": held_out, "in_class": in_class, "score": model.scores(columns)},
        schema={"side": pl.String, "held_out": pl.Boolean, "in_class": pl.Boolean, "score": pl.Float64},
    )
    np.save(work.out / "weights.npy", model.weights)
    write_part(work.out / "examples.parquet", found)
    return {"bias": model.bias}


def _lowest(paths: Sequence[Path], most: int) -> tuple[pl.Series, np.ndarray]:
    """(texts, hashes) of the ``most`` distinct texts with the lowest hashes, in the order of the hashes."""
    texts, hashes = pl.Series("text", [], dtype=pl.String), np.empty(0, dtype=np.uint64)
    for path in paths:
        more = read_part(path, ["text"])["text"]
        both = np.append(hashes, np.array([xxh3_64_intdigest(text.encode()) for text in more], dtype=np.uint64))
        hashes, places = np.unique(both, return_index=True)
        hashes, places = hashes[:most], places[:most]
        texts = pl.concat([texts, more]).gather(places)
    return texts, hashes


def _check_classes(sides: np.ndarray, held_out: np.ndarray, in_class: np.ndarray) -> None:
    for side, what in ((GOOD, "good texts"), (REST, "other texts")):
        own = in_class & (sides == side)
        count, apart = int(own.sum()), int((own & held_out).sum())
        if count < LEAST or not 0 < apart < count:
            raise PedigreeError(
                f"quality: after cleaning, {count} distinct {what} remain of the examples ({apart} of them held out); "
                f"a classifier needs two classes of {LEAST} texts or more. Give more examples, or check whether the "
                "labels are right, whether texts are in both classes (they count as good), and what the cleaning drops"
            )


def _trained(texts: pl.Series, good: np.ndarray, chosen: np.ndarray, spec: ClassifierSpec) -> Classifier:
    """The classifier trained on the ``chosen`` texts. Both classes have the same total weight."""
    found, sizes = [], []
    for batch in _batches(texts.gather(chosen)):
        own, starts = features_of(batch, spec.bits)
        found.append(own)
        sizes.append(np.diff(starts))
    starts = np.append(0, np.cumsum(np.concatenate(sizes)))
    targets = good[chosen].astype(np.float64)
    share = targets.mean()
    importance = np.where(targets == 1, 0.5 / share, 0.5 / (1 - share))
    generator = np.random.default_rng(_ORDER_SEED)
    order = np.concatenate([generator.permutation(len(chosen)) for _ in range(spec.epochs)])
    weights, bias = train(np.concatenate(found), starts, targets, importance, order, spec.bits, spec.learning_rate)
    return Classifier(weights, float(bias))


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """The probability that a score of ``positive`` is above one of ``negative``; ties count one half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def bound_of_share(found: np.ndarray, share: float) -> float:
    """The score that a ``share`` of the scores ``found`` reach, but at least one of them."""
    ordered = np.sort(found)
    return float(ordered[len(ordered) - max(1, round(share * len(ordered)))])


def read_quality(path: Path) -> Mapping[str, Any]:
    """``bias``, ``bound`` and the rest of ``quality.json``."""
    quality: Mapping[str, Any] = json.loads(path.read_bytes())
    return quality
