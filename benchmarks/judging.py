"""The quality classifier: what it tells apart of texts that it was not trained on, and how fast it scores.

    python benchmarks/judging.py [--text FOLDER] [--good NAME ...] [--any NAME]

``--text``: a folder of ``.jsonl.zst`` files with a field ``text`` (by default ``../shared/data/text``). Beside ours
stands scikit-learn's ``HashingVectorizer`` (different words and pairs, 2^20 features, as ours) with
``LogisticRegression``, trained on the same texts; it comes with the extra ``eval``. One core each, in processor time.
"""

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # before polars is imported: one core each
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import zstandard
from xxhash import xxh3_64_intdigest

from llm_core.data.normalise import normalised
from llm_core.data.parts import read_part, write_part
from llm_core.data.quality.model import HELD_OUT, Classifier, area_under_curve, bound_of_share, train_part
from llm_core.experiment.cleaning import CleaningSpec
from llm_core.experiment.quality import ClassifierSpec
from llm_core.graph.part import PartWork

SHARE = 0.3
SAMPLE = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "text")
    parser.add_argument("--good", nargs="+", default=["openstax_ccby", "wiki_sample", "govweb_us"])
    parser.add_argument("--any", default="webmix_cc")
    arguments = parser.parse_args()
    rest = corpus(arguments.text, arguments.any)
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
