"""From files to shards with other numbers of workers and threads, and other hash seeds: the same bytes."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

from assets import data, tokens
from llm_core.experiment.load import load_experiment
from llm_core.experiment.runtime import ComputeSpec
from llm_core.graph.job import Job, Runtime
from llm_core.registry import load_object
from pipelines.experiments import FOLDER
from tests.data.stages import artifact, digests

EXPERIMENT = f"""
extends: {FOLDER / "tiny.yaml"}
raw:
  documents_per_part: 300
  max_bad_share: 1
  sources:
    - {{kind: files, name: odd, paths: [odd.jsonl]}}
    - {{kind: files, name: even, paths: [even.jsonl]}}
cleaning: {{preset: none, rules: {{min_words: {{min: 3}}, stop_words: {{min: 1}}}}}}
split: {{heldout_share: 0.1}}
tokenizer: {{vocab_size: 600, byte_fallback: false, sample_bytes: 50000}}
"""


def build_all(folder: Path, workers: int) -> None:
    experiment = load_experiment(folder.parent / "experiment.yaml")
    runtime = Runtime(compute=ComputeSpec(workers=workers))
    for stage in [*data.stages(experiment), *tokens.stages(experiment)]:
        inputs = {role: artifact(folder / "out" / name) for role, name in stage.inputs.items()}
        out = folder / "out" / stage.name
        out.mkdir(parents=True)
        job = Job(stage.name, "identity", inputs, folder / "work" / stage.name, out, runtime)
        job.work.mkdir(parents=True)
        load_object(stage.build)(job, **stage.config)


def test_workers_threads_and_hash_seeds_change_no_byte(tmp_path):
    chance = random.Random(5)
    words = ["the", "of", "with", "value", "wert", "größe", "文字", "list.", "(item)", "raise", "1234", "“quoted”", "#"]
    for name in ("odd", "even"):
        texts = [" ".join(chance.choices(words, k=chance.randint(1, 60))) for _ in range(800)]
        lines = [json.dumps({"text": text}) for text in [*texts, *texts[::7]]]
        lines[::100] = ["broken"] * len(lines[::100])
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    found = []
    for number in (1, 3):
        threads = dict.fromkeys(("POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "PYTHONHASHSEED"), str(number))
        folder = tmp_path / f"run{number}"
        command = [sys.executable, "-m", __name__, str(folder), str(number)]
        subprocess.run(command, env={**os.environ, **threads}, cwd=Path(__file__).parents[2], check=True)
        found.append(digests(folder / "out"))
    assert found[0] == found[1]
    assert sum(name.endswith(".bin") for name in found[0]) > 8


if __name__ == "__main__":
    build_all(Path(sys.argv[1]), int(sys.argv[2]))
