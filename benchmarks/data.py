"""The data engine beside datatrove: same rules, same documents, one core each, in one run.

    python benchmarks/data.py [--text FOLDER] [--only cleaning|minhash]

needs the extra ``bench``. ``--text``: a folder of ``.jsonl.zst`` files with a field ``text`` (by
default ``../shared/data/text`` if it is there); a made corpus comes on top. Every figure is the median of five runs, in
seconds of processor time. datatrove is too slow for all documents: it runs on a sample of them, and so does ours beside
it; the verdicts are compared on all.
"""

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # before polars is imported: one core each
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import polars as pl
import zstandard

RUNS = 5
SAMPLE = 400
MADE = 3000


class Row(NamedTuple):
    """One line of the table."""

    corpus: str
    what: str
    documents: int
    megabytes: float
    seconds: float
    ratio: str


def main() -> None:
    import data_cleaning
    import data_minhash

    parts = {"cleaning": data_cleaning.compare, "minhash": data_minhash.compare}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "text")
    parser.add_argument("--only", choices=sorted(parts))
    arguments = parser.parse_args()
    print(f"`python benchmarks/data.py{f' --only {arguments.only}' if arguments.only else ''}`")
    for name, compare in parts.items():
        if arguments.only in (None, name):
            compare(corpora(arguments.text))


def corpora(folder: Path) -> Iterator[tuple[str, pl.Series]]:
    """(name, texts) of every file in ``folder``, and of a made corpus."""
    for path in sorted(folder.glob("*.jsonl.zst")):
        with path.open("rb") as file:
            data = zstandard.ZstdDecompressor().stream_reader(file).read()
        yield path.name.partition(".")[0], pl.read_ndjson(data, infer_schema_length=None)["text"]
    yield "made", pl.Series("text", [_made(random.Random(seed)) for seed in range(MADE)])


def sample(texts: pl.Series, count: int = SAMPLE) -> pl.Series:
    """``count`` of the texts, the same in every run."""
    return texts.sample(min(count, len(texts)), seed=1)


def seconds(run: Callable[[], object]) -> float:
    """Median of the processor time of ``RUNS`` runs, after one that compiles and loads."""
    run()
    taken = []
    for _ in range(RUNS):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def megabytes(texts: pl.Series) -> float:
    return float(texts.str.len_bytes().sum()) / 1e6


def table(rows: list[Row]) -> None:
    print("| corpus | what | documents | MB | seconds | MB/s | times ours |\n|---|---|--:|--:|--:|--:|--:|")
    for row in rows:
        rate = row.megabytes / row.seconds
        print(
            f"| {row.corpus} | {row.what} | {row.documents:,} | {row.megabytes:.1f} | {row.seconds:.3f} | {rate:.2f} "
            f"| {row.ratio} |"
        )


_SYLLABLES = [first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "an", "er", "il")]
_COMMON = ["the", "of", "and", "to", "that", "be", "with", "have", "in", "a", "is"]


def _made(rng: random.Random) -> str:
    """A document of made-up words in paragraphs; some repeat themselves, are lists, or are hardly words."""
    kind = rng.choices(["prose", "list", "repeats", "numbers"], [80, 8, 8, 4])[0]
    paragraphs = [_paragraph(rng, kind) for _ in range(1 + int(rng.expovariate(1 / 8)))]
    if kind == "repeats":
        paragraphs += [rng.choice(paragraphs) for _ in range(rng.randint(1, len(paragraphs)))]
    return "\n\n".join(paragraphs)


def _paragraph(rng: random.Random, kind: str) -> str:
    if kind == "numbers":
        return " | ".join(str(rng.randint(0, 99_999)) for _ in range(rng.randint(5, 80)))
    sentences = [_sentence(rng) for _ in range(rng.randint(1, 8))]
    return "\n".join(f"- {sentence}" for sentence in sentences) if kind == "list" else " ".join(sentences)


def _sentence(rng: random.Random) -> str:
    words = [
        rng.choice(_COMMON) if rng.random() < 0.4 else "".join(rng.choices(_SYLLABLES, k=1 + int(rng.expovariate(0.8))))
        for _ in range(rng.randint(4, 25))
    ]
    return (
        ", ".join(filter(None, (" ".join(words[: len(words) // 2]), " ".join(words[len(words) // 2 :])))).capitalize()
        + "."
    )


if __name__ == "__main__":
    main()
