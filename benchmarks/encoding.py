"""Encoders beside HF tokenizers' ``encode_batch_fast``: speed, and whether the ids are the same.

``python -m benchmarks.encoding --text ../shared/data/text`` prints a Markdown table. Speed: medians of five over 20 MB
of the text, with ``--threads``; the encoders take turns. The ids are compared on all of the text, and on 10,000 made
strings that are meant to do harm; ``--speed-only`` leaves that out.
"""

import argparse
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import zstandard

from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.batches import batches
from llm_core.tokens.encoders import Encoder, GigatokenEncoder, HFEncoder, TiktokenEncoder
from llm_core.tokens.learn import train_tokenizer
from llm_core.tokens.tokenizer import load_tokenizer
from tests.tokens.hostile import hostile_sample

THREADS = ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS")
TIMED_BYTES = 20_000_000
TRAINED_BYTES = 20_000_000
REPEATS = 5


def texts_in(folder: Path) -> Iterator[str]:
    """The field ``text`` of every line in the folder's ``.jsonl.zst`` files."""
    for path in sorted(folder.glob("*.jsonl.zst")):
        with path.open("rb") as file:
            stream = zstandard.ZstdDecompressor().stream_reader(file)
            for line in io.TextIOWrapper(stream, encoding="utf-8"):
                yield json.loads(line)["text"]


def first_bytes(texts: list[str], limit: int) -> list[str]:
    sizes = np.cumsum([len(text.encode()) for text in texts])
    return texts[: max(1, int(np.searchsorted(sizes, limit)))]


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """(wall, processor) seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def medians(runs: dict[str, Callable[[], object]]) -> dict[str, tuple[float, float]]:
    """The runs one after the other, five times, so that a busy moment of the machine meets all of them."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {
        name: (statistics.median(wall for wall, _ in found), statistics.median(spent for _, spent in found))
        for name, found in times.items()
    }


def differing(encoder: Encoder, reference: Encoder, texts: list[str]) -> int:
    """How many of ``texts`` get other ids."""
    count = 0
    for batch in batches(texts):
        mine, expected = encoder.encode_batch(batch), reference.encode_batch(batch)
        if not (np.array_equal(mine.ids, expected.ids) and np.array_equal(mine.lengths, expected.lengths)):
            alone = ([e.encode_batch([text]).ids for text in batch] for e in (encoder, reference))
            count += sum(not np.array_equal(first, second) for first, second in zip(*alone, strict=True))
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="a folder of .jsonl.zst files with a field 'text'")
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--pattern", default="llama3")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--speed-only", action="store_true")
    options = parser.parse_args()
    threads = dict.fromkeys(THREADS, str(options.threads))
    if threads.items() - os.environ.items():  # the libraries ask for it once, before anything runs
        command = [sys.executable, "-m", "benchmarks.encoding", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, **threads})  # noqa: S606
    texts = list(texts_in(options.text))
    # Every so-manieth document, so that all files have their part in it.
    spread = [text for start in range(7) for text in texts[start::7]]
    timed, hostile = first_bytes(spread, TIMED_BYTES), hostile_sample(10_000, seed=0)
    size, whole = (sum(len(text.encode()) for text in some) / 1e6 for some in (timed, texts))
    spec = TokenizerSpec(vocab_size=options.vocabulary, pattern=options.pattern)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        train_tokenizer(first_bytes(spread, TRAINED_BYTES), spec).save(str(path))
        tokenizer = load_tokenizer(path)
        reference = HFEncoder(tokenizer)
        others: list[Encoder] = [TiktokenEncoder(path, reference), GigatokenEncoder(path, reference)]
        found = medians(
            {
                "tokenizers, encode_batch_fast": lambda: tokenizer.encode_batch_fast(timed, add_special_tokens=False),
                **{encoder.name: lambda encoder=encoder: encoder.encode_batch(timed) for encoder in others},
            }
        )
        slowest = next(iter(found.values()))[1]
        compared = [] if options.speed_only else others
        verdicts = {
            encoder.name: [differing(encoder, reference, some) for some in (texts, hostile)] for encoder in compared
        }
    command = " ".join(["python -m benchmarks.encoding", *sys.argv[1:]])
    print(f"`{command}`: {size:.1f} MB timed, threads: {options.threads}, medians of {REPEATS}\n")
    print(
        f"| encoder | MB/s | MB per core-second | times HF | other ids: {len(texts)} documents ({whole:.0f} MB) |",
        end="",
    )
    print(f" other ids: {len(hostile)} hostile strings |\n|---|---:|---:|---:|---:|---:|")
    for name, (wall, processor) in found.items():
        on_text, on_hostile = verdicts.get(name, ("", ""))
        print(
            f"| {name} | {size / wall:.1f} | {size / processor:.1f} | {slowest / processor:.1f} | "
            f"{on_text} | {on_hostile} |"
        )


if __name__ == "__main__":
    main()
