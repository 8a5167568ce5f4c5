"""The quality classifier: what it tells apart of texts that it was not trained on, and how fast it scores.

    python benchmarks/judging.py [--text FOLDER] [--good NAME ...] [--any NAME] [--recipes]

``--text``: a folder of ``.jsonl.zst`` files with a field ``text`` (by default ``../shared/data/text``). Beside ours
stands scikit-learn's ``HashingVectorizer`` (different words and pairs, 2^20 features, as ours) with
``LogisticRegression``, trained on the same texts; it comes with the extra ``eval``. One core each, in processor time.

``--recipes``: instead, other features, weights of features and ways of training, for the first of ``--good``.
"""

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # before polars is imported: one core each
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import zstandard
from numba import njit
from xxhash import xxh3_64_intdigest

from llm_core.data.kernels.buffers import to_texts
from llm_core.data.kernels.words import mix, pieces
from llm_core.data.normalise import normalised
from llm_core.data.parquet_parts import read_part, write_part
from llm_core.data.quality.model import HELD_OUT, Classifier, area_under_curve, bound_of_share, train_part
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.quality import ClassifierSpec
from llm_core.graph.part import PartWork

SHARE = 0.3
SAMPLE = 400
BITS, EPOCHS = 20, 5
CUT = 1000
"""Characters of the texts of the column *cut*."""

RECIPES = [
    ("all occurrences", "1/n", "AdaGrad, rate 1", False, 1.0, 1.0, True, 1.0),
    ("all occurrences", "1/n", "steps as large as the error, rate 0.5", False, 1.0, 0.0, False, 0.5),
    ("all occurrences", "1/√n", "gradient descent, rate 0.5", False, 0.5, 0.5, False, 0.5),
    ("each once", "1/n", "AdaGrad, rate 1", True, 1.0, 1.0, True, 1.0),
    ("each once", "1/√n", "gradient descent, rate 0.5 (ours)", True, 0.5, 0.5, False, 0.5),
]
"""Three names, then: each feature once, powers of n for the score and for a step, AdaGrad, rate."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "text")
    parser.add_argument("--good", nargs="+", default=["openstax_ccby", "wiki_sample", "govweb_us"])
    parser.add_argument("--any", default="webmix_cc")
    parser.add_argument("--recipes", action="store_true")
    arguments = parser.parse_args()
    rest = corpus(arguments.text, arguments.any)
    if arguments.recipes:
        recipes(corpus(arguments.text, arguments.good[0]), rest)
        return
    print("| good | any | held out | by | AUC | accuracy | kept, seen | training, s | scoring, MB/s |")
    print("|---|---|--:|---|--:|--:|--:|--:|--:|")
    for name in arguments.good:
        good = corpus(arguments.text, name)
        ours(f"| {name} | {arguments.any}", good, rest)
        sklearn(f"| {name} | {arguments.any}", good, rest)


def corpus(folder: Path, name: str) -> pl.Series:
    """The normalised texts of a file, each once."""
    with (folder / f"{name}.jsonl.zst").open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file).read()
    texts = pl.read_ndjson(data, infer_schema_length=None)["text"]
    return normalised(texts, CleaningSpec()).unique(maintain_order=True).alias("text")


def ours(head: str, good: pl.Series, rest: pl.Series) -> None:
    """Two trainings: the first compiles."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_part(folder / "good.parquet", good.to_frame())
        write_part(folder / "rest.parquet", rest.to_frame())
        work = PartWork("", {"good 0": folder / "good.parquet", "rest 0": folder / "rest.parquet"}, {}, folder)
        train_part(work, ClassifierSpec())
        start = time.process_time()
        bias = train_part(work, ClassifierSpec())["bias"]
        training = time.process_time() - start
        found = read_part(folder / "examples.parquet").filter("in_class")
        model = Classifier.load(folder / "weights.npy", bias)
    told(head, "ours", found, training, rate(model.scores, rest))


def sklearn(head: str, good: pl.Series, rest: pl.Series) -> None:
    """The same with scikit-learn, where it is installed."""
    try:
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return
    texts = pl.concat([good, rest])
    targets = np.repeat([1, 0], [len(good), len(rest)])
    held_out = np.array([xxh3_64_intdigest(text.encode()) % HELD_OUT == 0 for text in texts])
    start = time.process_time()
    words = {"token_pattern": r"\w+|[^\w\s]+", "ngram_range": (1, 2), "lowercase": False}
    hashed = HashingVectorizer(**words, binary=True, alternate_sign=False)
    matrix = hashed.transform(texts.to_list())
    model = LogisticRegression(class_weight="balanced", C=10, max_iter=200)
    model.fit(matrix[~held_out], targets[~held_out])
    training = time.process_time() - start
    scores = model.predict_proba(matrix)[:, 1]
    sides = pl.Series(targets).replace_strict({1: "good", 0: "rest"})
    found = pl.DataFrame({"side": sides, "held_out": held_out, "score": scores})
    few = rest.sample(min(SAMPLE, len(rest)), seed=1)
    speed = rate(lambda texts: model.predict_proba(hashed.transform(texts.to_list())), few)
    told(head, "scikit-learn", found, training, speed)


def recipes(good: pl.Series, rest: pl.Series) -> None:
    """Every recipe on the same texts, held out as ours are."""
    texts = pl.concat([good, rest])
    targets = np.repeat([1.0, 0.0], [len(good), len(rest)])
    held_out = np.array([xxh3_64_intdigest(text.encode()) % HELD_OUT == 0 for text in texts])
    chosen = np.flatnonzero(~held_out)
    share = targets[chosen].mean()
    importance = np.where(targets == 1, 0.5 / share, 0.5 / (1 - share))
    generator = np.random.default_rng(1)
    order = np.concatenate([generator.permutation(chosen) for _ in range(EPOCHS)])
    print("| features | weight of a feature | training | AUC | cut | kept, seen |")
    print("|---|---|---|--:|--:|--:|")
    whole, cut = pieces(to_texts(texts)), pieces(to_texts(texts.str.slice(0, CUT)))
    for features, weight, training, once, power, step, adagrad, speed in RECIPES:
        found, starts = occurrences(whole.hashes, whole.bounds, BITS, once)
        model = fit(found, starts, targets, importance, order, (power, step, adagrad, speed))
        scores = logits(found, starts, *model, power)
        short = logits(*occurrences(cut.hashes, cut.bounds, BITS, once), *model, power)
        sides = [held_out & (targets == side) for side in (1, 0)]
        auc, of_cut = (area_under_curve(*(found[side] for side in sides)) for found in (scores, short))
        bound = bound_of_share(scores[sides[1]], SHARE)
        kept = (scores[~held_out & (targets == 0)] >= bound).mean()
        print(f"| {features} | {weight} | {training} | {auc:.4f} | {of_cut:.4f} | {kept:.1%} |")


@njit
def occurrences(hashes, bounds, bits, once):  # type: ignore[no-untyped-def]
    """(features of all texts, where each text's start): words and pairs, each once per text or all of them."""
    shift = np.uint64(64 - bits)
    seen = np.full(1 << bits, -1)
    found, starts = np.empty(2 * len(hashes), np.uint32), np.zeros(len(bounds), np.int64)
    count = 0
    for text in range(len(bounds) - 1):
        for word in range(bounds[text], bounds[text + 1]):
            for pair in range(2 if word + 1 < bounds[text + 1] else 1):
                base = np.uint64(0xD1342543DE82EF95)
                value = mix(hashes[word] * base + hashes[word + 1]) if pair else hashes[word]
                feature = value >> shift
                if not once or seen[feature] != text:
                    seen[feature] = text
                    found[count] = feature
                    count += 1
        starts[text + 1] = count
    return found[:count], starts


@njit
def fit(found, starts, targets, importance, order, recipe):  # type: ignore[no-untyped-def]
    """(weights, bias). A feature of a text of n counts ``n^-power``; its gradient is ``n^-step`` of the error."""
    power, step, adagrad, rate = recipe
    weights, squares, bias = np.zeros(1 << BITS), np.full(1 << BITS, 1e-12), 0.0
    for turn in range(len(order)):
        text = order[turn]
        own = found[starts[text] : starts[text + 1]]
        if len(own) == 0:
            continue
        total = 0.0
        for feature in own:
            total += weights[feature]
        logit = total * len(own) ** -power + bias
        error = (1 / (1 + math.exp(-logit)) - targets[text]) * importance[text]
        speed = rate * (1 - turn / len(order))
        bias -= 0.1 * speed * error
        gradient = error * len(own) ** -step
        for feature in own:
            if adagrad:
                squares[feature] += gradient * gradient
                weights[feature] -= speed * gradient / math.sqrt(squares[feature])
            else:
                weights[feature] -= speed * gradient
    return weights, bias


@njit
def logits(found, starts, weights, bias, power):  # type: ignore[no-untyped-def]
    result = np.full(len(starts) - 1, bias)
    for text in range(len(result)):
        own = found[starts[text] : starts[text + 1]]
        total = 0.0
        for feature in own:
            total += weights[feature]
        result[text] += total * max(1, len(own)) ** -power
    return result


def rate(score: Callable[[pl.Series], object], texts: pl.Series) -> float:
    """Megabytes of text per second of processor time, the best of three."""
    taken = []
    for _ in range(3):
        start = time.process_time()
        score(texts)
        taken.append(time.process_time() - start)
    return float(texts.str.len_bytes().sum()) / 1e6 / min(taken)


def told(head: str, what: str, found: pl.DataFrame, training: float, speed: float) -> None:
    apart = found.filter("held_out")
    good, rest = (apart.filter(side=side)["score"].to_numpy() for side in ("good", "rest"))
    seen = found.filter(~pl.col("held_out"), side="rest")["score"].to_numpy()
    kept = (seen >= bound_of_share(rest, SHARE)).mean()
    accuracy = ((good >= 0.5).mean() + (rest < 0.5).mean()) / 2
    auc = area_under_curve(good, rest)
    print(
        f"{head} | {len(good)} + {len(rest)} | {what} | {auc:.4f} | {accuracy:.3f} | {kept:.1%} | {training:.1f} "
        f"| {speed:.1f} |"
    )


if __name__ == "__main__":
    main()
