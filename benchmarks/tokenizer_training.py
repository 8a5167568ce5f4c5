"""Training a tokenizer, ours beside HF tokenizers: time, and whether the merges are the same.

``python -m benchmarks.tokenizer_training --text ../shared/data/text`` prints a Markdown table: 30 MB of it, medians
of five, both in turn.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from benchmarks.encoding import REPEATS, first_bytes, seconds, texts_in
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.tokens.learn import train_tokenizer
from tests.tokens.hf_training import trained_by_hf

TRAINED_BYTES = 30_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path, required=True, help="a folder of .jsonl.zst files with a field 'text'")
    parser.add_argument("--vocabulary", type=int, default=32_768)
    parser.add_argument("--pattern", default="llama3")
    options = parser.parse_args()
    texts = list(texts_in(options.text))
    sample = first_bytes([text for start in range(7) for text in texts[start::7]], TRAINED_BYTES)
    size = sum(len(text.encode()) for text in sample) / 1e6
    spec = TokenizerSpec(vocab_size=options.vocabulary, pattern=options.pattern)
    train_tokenizer(sample[:1], spec)  # compiles what is not compiled yet
    trainers_by_name = {"tokenizers": trained_by_hf, "ours": train_tokenizer}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers_by_name}
    for _ in range(REPEATS):
        for name, train in trainers_by_name.items():
            times[name].append(seconds(lambda train=train: train(sample, spec)))
    models_made = [json.loads(train(sample, spec).to_str())["model"] for train in trainers_by_name.values()]
    same = all(models_made[0][part] == models_made[1][part] for part in ("vocab", "merges"))
    command = " ".join(["python -m benchmarks.tokenizer_training", *sys.argv[1:]])
    print(
        f"`{command}`: {size:.1f} MB, medians of {REPEATS}; the vocabularies are {'equal' if same else 'NOT EQUAL'}\n"
    )
    print("| trainer | seconds | core-seconds a MB |\n|---|---:|---:|")
    for name, found in times.items():
        wall, processor = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"| {name} | {wall:.1f} | {processor / size:.4f} |")


if __name__ == "__main__":
    main()
