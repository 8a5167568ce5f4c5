"""Near-duplicate search measured: planted duplicates of known kinds, and the true ones that the text holds.

    python benchmarks/dedup.py --text ../shared/data/text/webmix_cc.jsonl.zst

Truth is computed apart from the code that is measured: Jaccard similarity of the exact sets of word 5-grams, over all
pairs that share one which at most 30 documents have.
"""

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # before polars is imported: one core

import argparse
import itertools
import random
import re
import sys
import tempfile
import time
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import zstandard

from llm_core.data import unique
from llm_core.data.dedup.clusters import find_clusters
from llm_core.data.dedup.signatures import sign, signature_dtype, write_signatures
from llm_core.data.folded_text import folded
from llm_core.data.parquet_parts import DOCUMENT, write_part
from llm_core.data.records import document_id
from llm_core.experiment.dedup import DedupSpec
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Job, Runtime
from llm_core.store.digests import file_digest
from llm_core.store.manifest import FileRecord

SHINGLE = 5
RARE = 30
BUCKETS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

Plant = Callable[[list[str], random.Random, list[str]], list[str]]


def edit(share: float) -> Plant:
    """That share of the words, each replaced by a word of the corpus."""

    def plant(words: list[str], chance: random.Random, vocabulary: list[str]) -> list[str]:
        edited = list(words)
        for place in chance.sample(range(len(words)), max(1, round(share * len(words)))):
            edited[place] = chance.choice(vocabulary)
        return edited

    return plant


def reorder(words: list[str], chance: random.Random, _: list[str]) -> list[str]:
    """The sentences in another order."""
    sentences = re.split(r"(?<=[.!?])\s+", " ".join(words))
    chance.shuffle(sentences)
    return " ".join(sentences).split()


def embed(growth: float) -> Plant:
    """In the middle of other words, that many for each of its own."""

    def plant(words: list[str], chance: random.Random, vocabulary: list[str]) -> list[str]:
        around = chance.choices(vocabulary, k=round(growth * len(words)))
        return around[: len(around) // 2] + words + around[len(around) // 2 :]

    return plant


KINDS: dict[str, Plant] = {
    "1% of the words edited": edit(0.01),
    "5% of the words edited": edit(0.05),
    "20% of the words edited": edit(0.2),
    "sentences reordered": reorder,
    "embedded in a text 1.2 times as long": embed(0.2),
    "embedded in a text twice as long": embed(1.0),
}


def shingles(texts: pl.Series) -> list[set[int]]:
    """The sets of word 5-grams of folded texts, as hashes by Python."""
    found = []
    for text in texts.rename("text").to_frame().select(key=folded())["key"]:
        words = text.split()
        found.append({hash(tuple(words[at : at + SHINGLE])) for at in range(len(words) - SHINGLE + 1)})
    return found


def jaccard(one: set[int], other: set[int]) -> float:
    return len(one & other) / len(one | other) if one or other else 0.0


def alike_pairs(sets: list[set[int]], least: float) -> Iterator[tuple[int, int, float]]:
    """All pairs of a similarity of ``least`` or more that share a 5-gram which at most ``RARE`` documents have."""
    holders: dict[int, list[int]] = defaultdict(list)
    for number, own in enumerate(sets):
        for shingle in own:
            holders[shingle].append(number)
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in holders.values():
        if 2 <= len(numbers) <= RARE:
            shared.update(itertools.combinations(numbers, 2))
    for one, other in shared:
        if len(sets[one]) and min(len(sets[one]), len(sets[other])) >= least * max(len(sets[one]), len(sets[other])):
            similarity = jaccard(sets[one], sets[other])
            if similarity >= least:
                yield one, other, similarity


def deduplicated(frame: pl.DataFrame, folder: Path, parts: int) -> tuple[dict[str, Any], pl.DataFrame, float]:
    """(statistics, clusters, seconds) of the stage ``unique_documents`` over ``frame``, one worker."""
    size = -(-frame.height // parts)
    for number in range(parts):
        write_part(folder / "clean" / "parts" / f"p-{number:03d}.parquet", frame[number * size : (number + 1) * size])
    files = [
        FileRecord(path=f"parts/{path.name}", size=path.stat().st_size, xxh3=file_digest(path))
        for path in sorted((folder / "clean" / "parts").iterdir())
    ]
    clean: Any = SimpleNamespace(path=folder / "clean", manifest=SimpleNamespace(files=files))
    work = folder / "work"
    (work / "out").mkdir(parents=True)
    runtime = Runtime(compute=ComputeSpec(workers=1))
    clock = time.perf_counter()
    stats = unique.build(
        Job("unique", "x", {"documents": clean}, work, work / "out", runtime), DedupSpec()
    ).model_dump()
    return stats, pl.read_parquet(work / "out" / "clusters.parquet"), time.perf_counter() - clock


def corpus(path: Path) -> pl.DataFrame:
    """Documents as ``clean_documents`` holds them; the field ``source`` (or the file) names the source."""
    data = zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read()
    read = pl.read_ndjson(data)
    sources = read["source"] if "source" in read.columns else pl.repeat(path.name, read.height, eager=True)
    rows = zip(read["text"], sources, strict=True)
    return documents([(text, source) for text, source in rows], "corpus")


def documents(rows: list[tuple[str, str]], origin: str) -> pl.DataFrame:
    made = [
        (document_id(source, origin, row), text, source, origin, row, None) for row, (text, source) in enumerate(rows)
    ]
    return pl.DataFrame(made, schema=DOCUMENT, orient="row")


def planted(frame: pl.DataFrame, count: int, seed: int) -> tuple[pl.DataFrame, list[tuple[str, str, str]]]:
    """(planted documents, (kind, original, copy)): every kind from other originals of 100 to 5,000 words."""
    chance = random.Random(seed)
    vocabulary = [word for text in frame["text"][::20] for word in text.split()]
    originals = [row for row in frame.iter_rows(named=True) if 100 <= len(row["text"].split()) <= 5000]
    chosen = chance.sample(originals, min(len(originals), count * len(KINDS)))
    rows, pairs = [], []
    for place, original in enumerate(chosen):
        kind = list(KINDS)[place % len(KINDS)]
        words = KINDS[kind](original["text"].split(), chance, vocabulary)
        rows.append((" ".join(words), "planted"))
        pairs.append((kind, original["doc_id"], document_id("planted", "planted", place)))
    return documents(rows, "planted"), pairs


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def report_planted(frame: pl.DataFrame, count: int, seed: int, folder: Path) -> None:
    copies, pairs = planted(frame, count, seed)
    whole = pl.concat([frame, copies])
    stats, clusters, seconds = deduplicated(whole, folder, parts=4)
    cluster_of = dict(clusters.select("doc_id", "cluster").iter_rows())
    numbers = {doc_id: number for number, doc_id in enumerate(whole["doc_id"])}
    sets = shingles(whole["text"])
    found: dict[str, list[bool]] = defaultdict(list)
    truth: dict[str, list[float]] = defaultdict(list)
    for kind, original, copy in pairs:
        found[kind].append(cluster_of.get(original, -1) == cluster_of.get(copy, -2))
        truth[kind].append(jaccard(sets[numbers[original]], sets[numbers[copy]]))
    print(f"### Planted: {len(pairs)} documents among {frame.height} (seed {seed}; {seconds:.1f} s in all, one core)\n")
    rows = [
        (kind, len(hits), f"{np.median(truth[kind]):.2f}", f"{np.mean(hits):.3f}")
        for kind, hits in ((kind, found[kind]) for kind in KINDS)
    ]
    table(("kind", "pairs", "median true Jaccard", "recall"), rows)
    merged, below, worst = 0, 0, 1.0
    by_bucket: Counter[int] = Counter()
    for members in clusters.group_by("cluster").agg("doc_id")["doc_id"].to_list():
        own = [sets[numbers[doc_id]] for doc_id in members[:200]]
        least = min(jaccard(one, other) if one or other else 1.0 for one, other in itertools.combinations(own, 2))
        merged, below, worst = merged + 1, below + (least < 0.5), min(worst, least)
        by_bucket[int(np.digitize(least, BUCKETS[1:]))] += 1
    print(
        f"{merged} clusters, {stats['dropped']} dropped; clusters that hold a pair of true Jaccard below 0.5: "
        f"{below} ({below / merged:.2%}); the least alike pair of all: {worst:.2f}\n"
    )


def report_true(frame: pl.DataFrame, folder: Path) -> None:
    stats, clusters, _ = deduplicated(frame, folder, parts=4)
    cluster_of = dict(clusters.select("doc_id", "cluster").iter_rows())
    sets = shingles(frame["text"])
    doc_ids, sources = frame["doc_id"].to_list(), frame["source"].to_list()
    counts: dict[tuple[int, bool], list[bool]] = defaultdict(list)
    for one, other, similarity in alike_pairs(sets, BUCKETS[1]):
        bucket = int(np.digitize(similarity, BUCKETS)) - 1
        together = cluster_of.get(doc_ids[one], -1) == cluster_of.get(doc_ids[other], -2)
        counts[bucket, sources[one] != sources[other]].append(together)
    print(f"### The duplicates that the text holds: {frame.height} documents\n")
    across = clusters.group_by("cluster").agg(pl.col("source").n_unique(), size=pl.len()).filter(pl.col("source") > 1)
    rows = [
        ("documents dropped as equal", stats["dropped_by_rule"]["exact_duplicate"]),
        ("documents dropped as near duplicates", stats["dropped_by_rule"]["near_duplicate"]),
        ("clusters", stats["clusters"]),
        ("clusters across sources", stats["clusters_across_sources"]),
        ("documents in them beside the one that stays", int(across["size"].sum()) - across.height),
        ("largest cluster", stats["largest_cluster"]),
    ]
    table(("found", "count"), rows)
    labels = ["", "0.5 to 0.6", "0.6 to 0.7", "0.7 to 0.8", "0.8 to 0.9", "0.9 to 1", "1"]
    rows = []
    for bucket in range(1, len(BUCKETS)):
        inside, outside = counts[bucket, False], counts[bucket, True]
        rows.append(
            (labels[bucket], len(inside), _share(inside), len(outside), _share(outside)),
        )
    table(("true Jaccard", "pairs in a source", "found", "pairs across sources", "found"), rows)


def _share(hits: list[bool]) -> str:
    return f"{np.mean(hits):.3f}" if hits else "–"


def report_cost(frame: pl.DataFrame, folder: Path) -> None:
    spec = DedupSpec()
    sign(frame[:10], spec.minhash)
    clock = time.process_time()
    sign(frame, spec.minhash)
    signing = time.process_time() - clock
    size = int(frame["text"].str.len_bytes().sum())
    count, parts = 400_000, 8
    chance = np.random.default_rng(1)
    paths = []
    for number in range(parts):
        rows = np.zeros(count // parts, dtype=signature_dtype(spec.minhash.permutations))
        for field in ("doc_id", "key"):
            for half in ("high", "low"):
                rows[field][half] = chance.integers(0, 1 << 63, len(rows), dtype=np.uint64)
        rows["shingles"] = 1
        rows["minhash"] = chance.integers(0, 1 << 32, rows["minhash"].shape, dtype=np.uint32)
        rows[1::10] = rows[::10][: len(rows[1::10])]
        paths.append(folder / f"{number}.npy")
        write_signatures(paths[-1], rows)
    order = chance.permutation(count)
    find_clusters(paths[:1], np.arange(count // parts), spec, folder / "warm")
    tracemalloc.start()
    clock = time.process_time()
    find_clusters(paths, order, spec, folder / "scratch")
    clustering = time.process_time() - clock
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print("### Cost\n")
    table(
        ("what", "figure"),
        [
            ("signatures, documents a second of processor time", f"{frame.height / signing:,.0f}"),
            ("signatures, seconds of processor time a MB of text", f"{signing / size * 1e6:.4f}"),
            ("bytes of a signature on disk", rows.dtype.itemsize),
            (f"clustering {count:,} documents, documents a second of processor time", f"{count / clustering:,.0f}"),
            ("clustering, peak bytes of memory a document (without mapped files)", f"{peak / count:.0f}"),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=Path("../shared/data/text/webmix_cc.jsonl.zst"))
    parser.add_argument("--planted", type=int, default=300, help="documents of every kind")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"Command: `python benchmarks/dedup.py {' '.join(sys.argv[1:])}`\n")
    frame = corpus(arguments.text)
    with tempfile.TemporaryDirectory() as folder:
        report_planted(frame, arguments.planted, arguments.seed, Path(folder) / "planted")
        report_true(frame, Path(folder) / "true")
        report_cost(frame, Path(folder) / "cost")


if __name__ == "__main__":
    main()
