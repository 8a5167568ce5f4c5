"""Training a tokenizer, ours beside HF tokenizers' ``BpeTrainer``: time, memory, and whether the result is the same.

``python -m benchmarks.tokenizer_training --text ../shared/data/text`` prints a Markdown table. Every training is a
process of its own; the trainers take turns, and the table has medians. *Memory* is the largest resident memory during
training, less that before it, when the texts are loaded. *Threads* are those that the library may use; ours has one.
*Bytes per token* are on text that nothing was trained on. ``same``: all trainings of the row's vocabulary size, by both
trainers, with any number of threads and with the texts in either order, gave the same entries and merges.
"""

import argparse
import ctypes
import hashlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.encoding import first_bytes, seconds, texts_in
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.learn import train_tokenizer
from tests.tokens.hf_training import trained_by_hf

TRAINERS = {"tokenizers": trained_by_hf, "ours": train_tokenizer}
RUNS = (("tokenizers", 1), ("tokenizers", 2), ("ours", 1))
HELDOUT_BYTES = 4_000_000


def one(trainer: str, text: Path, megabytes: int, spec: TokenizerSpec, turned: bool) -> dict[str, Any]:
    """Figures of one training in this process."""
    texts = list(texts_in(text))
    spread = [text for start in range(7) for text in texts[start::7]]
    sample = first_bytes(spread, megabytes * 1_000_000)
    heldout = first_bytes(spread[len(sample) :], HELDOUT_BYTES)
    del texts, spread
    train = TRAINERS[trainer]
    train(sample[:1], spec)  # loads libraries, and compiles what is not compiled yet
    ctypes.CDLL(None).malloc_trim(0)  # else training would fill, unseen, the room of texts that are no longer held
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    made = []
    wall, processor = seconds(lambda: made.append(train(sample[::-1] if turned else sample, spec)))
    peak = _status("VmHWM")
    model = json.loads(made[0].to_str())["model"]
    tokens = sum(len(found.ids) for found in made[0].encode_batch_fast(heldout, add_special_tokens=False))
    return {
        "bytes": sum(len(text.encode()) for text in sample),
        "wall": wall,
        "processor": processor,
        "memory": peak - before,
        "bytes_per_token": sum(len(text.encode()) for text in heldout) / tokens,
        "digest": hashlib.sha256(json.dumps([model["vocab"], model["merges"]]).encode()).hexdigest(),
    }


def _status(name: str) -> int:
    """Bytes, from what Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024


def in_a_process(trainer: str, threads: int, vocabulary: int, turned: bool) -> dict[str, Any]:
    """``one`` with as many threads as said."""
    which = ["--one", trainer, "--vocabularies", str(vocabulary), *(["--turned"] if turned else [])]
    command = [sys.executable, "-m", "benchmarks.tokenizer_training", *sys.argv[1:], *which]
    env = {**os.environ, "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
    found: dict[str, Any] = json.loads(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True, help="a folder of .jsonl.zst files with a field 'text'")
    parser.add_argument("--megabytes", type=int, default=64, help="of text to train on")
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[4096, 32_768])
    parser.add_argument("--pattern", default="llama3")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=TRAINERS, help=argparse.SUPPRESS)
    parser.add_argument("--turned", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    specs = [TokenizerSpec(vocab_size=size, pattern=options.pattern) for size in options.vocabularies]
    if options.one:
        print(json.dumps(one(options.one, options.text, options.megabytes, specs[0], options.turned)))
        return
    command = " ".join(["python -m benchmarks.tokenizer_training", *sys.argv[1:]])
    print(f"`{command}`: {options.megabytes} MB of text, medians of {options.runs}\n")
    print(
        "| entries | trainer | threads | seconds | times ours | core-seconds per MB | memory, MB | times ours |", end=""
    )
    print(" bytes per token | same |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for spec in specs:
        found: dict[tuple[str, int], list[dict[str, Any]]] = {run: [] for run in RUNS}
        for number in range(options.runs):
            for trainer, threads in RUNS:
                result = in_a_process(trainer, threads, spec.vocab_size, turned=number % 2 == 1)
                found[trainer, threads].append(result)
        _print_rows(spec.vocab_size, found)


def _print_rows(size: int, found: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    same = "yes" if len({result["digest"] for results in found.values() for result in results}) == 1 else "NO"

    def median(run: tuple[str, int], name: str) -> float:
        return statistics.median(result[name] for result in found[run])

    ours = ("ours", 1)
    for run in RUNS:
        wall, memory = median(run, "wall"), median(run, "memory")
        figures = [
            f"{wall:.1f}",
            f"{wall / median(ours, 'wall'):.1f}",
            f"{median(run, 'processor') / median(run, 'bytes') * 1e6:.4f}",
            f"{memory / 1e6:.0f}",
            f"{memory / median(ours, 'memory'):.1f}",
            f"{median(run, 'bytes_per_token'):.4f}",
        ]
        print(f"| {size:,} | {run[0]} | {run[1]} | {' | '.join(figures)} | {same} |", flush=True)


if __name__ == "__main__":
    main()
