"""Tokens per second of the loader, beside a naive one: `python benchmarks/loader.py`.

Made shards: 360 M tokens (as `--tokens`) in 20 shards, documents of lognormal length, 900 tokens on average. All from
one process and one thread, document ids included, medians of five runs over the same steps. *cold*: the shards are
dropped from the page cache before each run (`posix_fadvise`). *naive*: the loader that everyone writes first: a stored
permutation of windows, `np.memmap`, a copy for each row, and document ids from the end-of-text tokens.
"""

import argparse
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llm_core.tokens.loader import Batch, Loader
from llm_core.tokens.packing import BestFit
from llm_core.tokens.reader import ShardReader
from llm_core.tokens.shard_file import HEADER_BYTES, write_shard

RUNS = 5
SHARDS = 20
VOCABULARY = 32_768
MEAN_LENGTH = 900
SHAPES = {"T 2048, batch 524,288": (2048, 256, 20), "T 256, batch 2,048 (tiny)": (256, 8, 2000)}
"""Name → sequence length, sequences of a batch, batches of a run."""


def make_shards(folder: Path, tokens: int) -> None:
    """Shards of random ids, from two sources."""
    rng = np.random.default_rng(0)
    (folder / "train").mkdir(parents=True)
    records, offsets, total = [], [np.zeros(1, np.int64)], 0
    for number in range(SHARDS):
        lengths = np.maximum(
            2, rng.lognormal(math.log(MEAN_LENGTH) - 1.1**2 / 2, 1.1, tokens // SHARDS // MEAN_LENGTH).astype(np.int64)
        )
        ends = np.cumsum(lengths)
        ids = rng.integers(1, VOCABULARY, int(ends[-1]), dtype=np.uint16)
        ids[ends - 1] = 0
        source = "web" if number < SHARDS * 3 // 4 else "books"
        file = f"train/{source}-{number:03d}.bin"
        write_shard(folder / file, ids, dtype="uint16", vocab_size=VOCABULARY, tokenizer="0" * 32)
        records.append({"file": file, "tokens": len(ids), "documents": len(lengths), "source": source})
        offsets.append(ends + total)
        total += len(ids)
    np.save(folder / "train" / "documents.npy", np.concatenate(offsets))
    splits = {"train": {"tokens": total, "documents": sum(map(len, offsets)) - 1, "shards": records}}
    index = {"dtype": "uint16", "vocab_size": VOCABULARY, "eot": 0, "tokenizer": "0" * 32, "splits": splits}
    (folder / "shards.json").write_text(json.dumps(index))


def naive(folder: Path, length: int, batch_size: int) -> Callable[[int], Batch]:
    """See the module."""
    files = [
        folder / record["file"]
        for record in json.loads((folder / "shards.json").read_text())["splits"]["train"]["shards"]
    ]
    shards = [np.memmap(path, dtype="<u2", mode="r", offset=HEADER_BYTES) for path in files]
    windows = [(shard, start) for shard in shards for start in range(0, len(shard) - length, length)]
    order = np.random.default_rng(0).permutation(len(windows))

    def batch(step: int) -> Batch:
        rows = [windows[order[(step * batch_size + row) % len(order)]] for row in range(batch_size)]
        tokens = np.stack([shard[start : start + length + 1].astype(np.int64) for shard, start in rows])
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        return Batch(inputs, targets, np.cumsum(inputs == 0, axis=1))

    return batch


def forget(folder: Path) -> None:
    """Drop the shards from the page cache."""
    for path in (folder / "train").iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def rate(folder: Path, make: Callable[[], Callable[[int], Batch]], steps: int, tokens: int, cold: bool) -> float:
    """Million tokens per second: the median of the runs. Opening is not timed."""
    found = []
    for run in range(RUNS):
        if cold:
            forget(folder)
        batch = make()
        started = time.perf_counter()
        for step in range(steps):
            batch(run * steps * cold + step)
        found.append(steps * tokens / (time.perf_counter() - started) / 1e6)
    return statistics.median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=360_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "shards"
        make_shards(folder, arguments.tokens)
        reader = ShardReader(folder, "train")
        print(f"{reader.tokens:,} tokens in {SHARDS} shards, {reader.documents:,} documents, one process\n")
        started = time.perf_counter()
        packed = BestFit(reader, 2048)
        seconds = time.perf_counter() - started
        print(
            f"best_fit, T 2048: {reader.documents / seconds:,.0f} documents/s at opening, "
            f"{packed.stats()['padding_share']:.3%} padding, {packed.stats()['crops']:,} crops\n"
        )
        print("| shape | loader | warm, M tokens/s | cold, M tokens/s |\n|---|---|---|---|")
        for shape, (length, batch_size, steps) in SHAPES.items():
            sources = [ShardReader(folder, "train", source) for source in ("web", "books")]
            made: dict[str, Callable[[], Callable[[int], Batch]]] = {
                "naive": lambda t=length, b=batch_size: naive(folder, t, b),
                "concat": lambda t=length, b=batch_size: Loader(reader, t, b, 1, "concat").batch,
                "best_fit": lambda t=length, b=batch_size: Loader(reader, t, b, 1, "best_fit").batch,
                "pad": lambda t=length, b=batch_size: Loader(reader, t, b, 1, "pad").batch,
                "concat, mixture of two": lambda t=length, b=batch_size, s=sources: (
                    Loader(s, t, b, 1, "concat", weights=[2, 1]).batch
                ),
            }
            for kind, make in made.items():
                rates = [rate(folder, make, steps, length * batch_size, cold) for cold in (False, True)]
                print(f"| {shape} | {kind} | {rates[0]:.0f} | {rates[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
