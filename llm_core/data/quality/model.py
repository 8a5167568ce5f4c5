"""The classifier: trained on examples of two classes, it gives every text a score from 0 to 1."""

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
"""Documents to set the bound by that are examples of neither class."""

LEAST = 20
"""Examples of a class; with fewer nothing can be trained and held out."""

HELD_OUT = 10
"""One text in so many is held out, by its hash: equal texts stand on one side."""

_ORDER_SEED = 1337
_BATCH_BYTES = 16 << 20
"""Text whose words are in memory at once, about six bytes for each byte."""


class Classifier:
    """``weights``: float32 [2^bits]. A score is the probability that a text is good, were both classes as frequent."""

    def __init__(self, weights: np.ndarray, bias: float) -> None:
        self.weights = weights
        self.bias = bias

    @classmethod
    def load(cls, weights: Path, bias: float) -> "Classifier":
        """With the weights in the file ``weights``."""
        return cls(np.load(weights), bias)

    def scores(self, texts: pl.Series) -> np.ndarray:
        """float64 [n]: the score of every text. One without words has the score that the bias alone gives."""
        bits = len(self.weights).bit_length() - 1
        found = [scores(*features_of(batch, bits), self.weights, self.bias) for batch in _batches(texts)]
        return np.concatenate([np.empty(0), *found])


def features_of(texts: pl.Series, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(features of all texts, where each text's start), as ``llm_core.data.kernels.linear.features`` has them."""
    words = pieces(to_texts(texts))
    found, starts = features(words.hashes, words.bounds, bits)
    return found.copy(), starts  # a view would keep room for the most that there could have been


def _batches(texts: pl.Series) -> Iterator[pl.Series]:
    sizes = texts.str.len_bytes().to_numpy().astype(np.int64)
    batch = (np.cumsum(sizes) - sizes) // _BATCH_BYTES
    bounds = [0, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), len(texts)]
    return (texts[first:stop] for first, stop in pairwise(bounds) if stop > first)


def train_part(work: PartWork, classifier: ClassifierSpec) -> dict[str, Any]:
    """``weights.npy``, and ``examples.parquet`` with ``side``, ``held_out`` and ``score`` of every example.

    The inputs' roles are ``<side> <name>``. Of each side those texts are taken that have the lowest hashes, in the
    order of these; equal texts count once. A text that is good is no example of the rest: it stands there only for
    setting the bound. Raises ``PedigreeError`` where a class has too few examples.
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
    """(texts, their hashes) of the ``most`` different texts with the lowest hashes, in the order of these."""
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
                f"quality: {count} different {what} are left of the examples after cleaning ({apart} of them held "
                f"out); a classifier needs two classes of {LEAST} texts or more. Give more examples; or see whether "
                "the labels are right, whether the same texts stand in both classes (they count as good), and what "
                "the cleaning drops"
            )


def _trained(texts: pl.Series, good: np.ndarray, chosen: np.ndarray, spec: ClassifierSpec) -> Classifier:
    """Trained on the ``chosen`` texts; both classes weigh the same, whatever their sizes."""
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
    """The probability that a score of ``positive`` is above one of ``negative``; equal scores count one half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def bound_of_share(found: np.ndarray, share: float) -> float:
    """The score that ``share`` of the scores ``found`` reach, at least one of them."""
    ordered = np.sort(found)
    return float(ordered[len(ordered) - max(1, round(share * len(ordered)))])


def read_quality(path: Path) -> Mapping[str, Any]:
    """``bias``, ``bound`` and the rest of ``quality.json``."""
    quality: Mapping[str, Any] = json.loads(path.read_bytes())
    return quality
