"""From files to shards in processes with other thread counts and hash seeds: the same bytes."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from llm_core.data import clean, raw, split, unique
from llm_core.experiment.cleaning import CleaningSpec, RuleSpec
from llm_core.experiment.dedup import DedupSpec, SplitSpec
from llm_core.experiment.evaluation import EvaluationSpec
from llm_core.experiment.sources import FilesSource, RawSpec
from llm_core.experiment.tokens import ShardsSpec, TokenizerSpec
from llm_core.tokens import shards, train
from tests.data.stages import digests, run


def build_all(corpus: Path, work: Path) -> None:
    rules = {"min_words": RuleSpec(min=3), "stop_words": RuleSpec(min=1), "mean_word_length": RuleSpec(min=2, max=10)}
    source = FilesSource(paths=(str(corpus),))
    run(raw.build, work / "raw", {}, raw=RawSpec(sources=(source,), documents_per_part=700, max_bad_share=1))
    documents = work / "raw" / "out"
    for build, config in (
        (clean.build, {"cleaning": CleaningSpec(rules=rules)}),
        (unique.build, {"dedup": DedupSpec()}),
        (split.build, {"split": SplitSpec(heldout_share=0.1), "evaluation": EvaluationSpec()}),
    ):
        name = build.__module__
        run(build, work / name, {"documents": documents}, **config)
        documents = work / name / "out"
    for fallback in (False, True):
        spec = TokenizerSpec(vocab_size=600, byte_fallback=fallback, sample_bytes=200_000)
        tokenizer = work / f"tokenizer_{fallback}"
        run(train.build, tokenizer, {"documents": documents}, tokenizer=spec)
    inputs = {"documents": documents, "tokenizer": tokenizer / "out"}
    run(shards.build, work / "shards", inputs, shards=ShardsSpec())


def test_threads_and_hash_seeds_change_no_byte(tmp_path):
    chance = random.Random(5)
    words = ["the", "of", "with", "value", "wert", "größe", "文字", "list.", "(item)", "raise", "1234", "“quoted”", "#"]
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 60))) for _ in range(2000)]
    lines = [json.dumps({"text": text}) for text in [*texts, *texts[::7]]]
    lines[::100] = ["broken"] * len(lines[::100])
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    found = []
    for number in (1, 3):
        threads = dict.fromkeys(("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "PYTHONHASHSEED"), str(number))
        work = tmp_path / f"run{number}"
        command = [sys.executable, "-m", __name__, str(tmp_path / "corpus.jsonl"), str(work)]
        subprocess.run(command, env={**os.environ, **threads}, cwd=Path(__file__).parents[2], check=True)
        found.append(digests(work))
    assert found[0] == found[1]
    assert sum(name.endswith(".bin") for name in found[0]) > 3


if __name__ == "__main__":
    build_all(Path(sys.argv[1]), Path(sys.argv[2]))
