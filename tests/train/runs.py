"""Small shards, small runs, and their outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from llm_core.experiment.component import over
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.tokens.shard_file import write_shard
from llm_core.train.distribution import World
from llm_core.train.interruption import StopRequest
from llm_core.train.loop import train
from llm_core.train.main import main
from llm_core.train.rank_files import StoredParts
from llm_core.train.spec import TrainerSpec
from llm_core.train.warm_start import check_start
from llm_core.train.work_folder import claim

VOCABULARY = 300
TOKENIZER = "ab" * 16
MODEL = {
    "d_model": 32,
    "n_layers": 2,
    "mixer": {"kind": "attention", "n_heads": 4, "n_kv_heads": 2},
    "feed_forward": {"kind": "swiglu", "d_ff": 64},
}
ALONE = World(rank=0, size=1, device=torch.device("cpu"))


def write_shards(folder: Path, tokens: int = 20_000, heldout: int = 2_000, vocab_size: int = VOCABULARY) -> Path:
    """A corpus of two sources with something to learn: ids walk upwards in small steps."""
    splits = {}
    for split, count in (("train", tokens), ("heldout", heldout)):
        (folder / split).mkdir(parents=True)
        steps = np.random.default_rng(len(split)).integers(1, 4, count)
        ids = np.cumsum(steps) % (vocab_size - 1) + 1
        offsets = np.unique(np.append(np.arange(0, count, 50), count)).astype(np.int64)
        ids[offsets[1:] - 1] = 0
        middle = int(offsets[len(offsets) // 2])
        pieces = {"a": ids[:middle], "b": ids[middle:]}
        for source, piece in pieces.items():
            path = folder / split / f"{source}-000.bin"
            write_shard(path, piece, dtype="uint16", vocab_size=vocab_size, tokenizer=TOKENIZER)
        np.save(folder / split / "documents.npy", offsets)
        splits[split] = {
            "tokens": count,
            "documents": len(offsets) - 1,
            "shards": [
                {"file": f"{split}/{source}-000.bin", "tokens": len(piece), "source": source}
                for source, piece in pieces.items()
            ],
        }
    index = {"dtype": "uint16", "vocab_size": vocab_size, "eot": 0, "tokenizer": TOKENIZER, "splits": splits}
    (folder / "shards.json").write_text(json.dumps(index))
    return folder


def model_spec(**changes) -> ModelSpec:
    """The small model with ``changes``, which override the settings of components of the same kind."""
    return ModelSpec.model_validate(over(MODEL, changes))


def training_spec(steps: int = 10, **changes) -> TrainingSpec:
    fields = {
        "sequence_length": 32,
        "batch_tokens": 256,
        "tokens": 256 * steps,
        "precision": "fp32",
        "validate_every": 5,
        "validation_tokens": 1024,
        "optimizer": {"lr": 0.01},
    }
    return TrainingSpec(**{**fields, **changes})


def trainer_spec(folder: Path, steps: int = 10, training: dict | None = None, **changes) -> TrainerSpec:
    """A run in ``folder``/work on the shards in ``folder``/shards, which are written if missing."""
    if not (folder / "shards").exists():
        write_shards(folder / "shards")
    fields = {
        "model": model_spec(),
        "training": training_spec(steps, **(training or {})),
        "vocab_size": VOCABULARY,
        "seed": 7,
        "shards": folder / "shards",
        "work": folder / "work",
        "checkpoint_every": 4,
    }
    return TrainerSpec(**{**fields, **changes})


def run(spec: TrainerSpec, stop: StopRequest | None = None, log=lambda line: None):
    """Train in this process."""
    check_start(spec)
    claim(spec, log)
    return train(spec, ALONE, stop or StopRequest(), log)


def start(spec: TrainerSpec, ranks: int = 1, **options) -> subprocess.Popen:
    """Train in a separate process; under torchrun with several ranks."""
    spec.work.mkdir(parents=True, exist_ok=True)
    path = spec.work / "spec.json"
    spec.write(path)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    command = [sys.executable, *(torchrun if ranks > 1 else []), "-m", "llm_core.train", str(path)]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=(spec.work / "out").open("ab"),
        stderr=subprocess.STDOUT,
        **options,
    )


def main_here(spec_file: Path) -> int:
    """The trainer's command in this process, which has imported torch already. Signals stay those of the tests."""
    with patch.object(StopRequest, "install"):
        return main([str(spec_file)])


def records(spec: TrainerSpec) -> list[dict]:
    return [json.loads(line) for line in (spec.work / "metrics.jsonl").read_text().splitlines()]


def weights(spec: TrainerSpec) -> bytes:
    return (spec.work / "final" / "model.safetensors").read_bytes()


def checkpoint_steps(spec: TrainerSpec) -> list[int]:
    names = [path.name.removeprefix("step_") for path in (spec.work / "checkpoints").iterdir()]
    return sorted(int(name) for name in names if name.isdigit())  # a kill may leave an unfinished one


def checkpoint_tensors(spec: TrainerSpec, step: int) -> dict[str, torch.Tensor]:
    """All tensors of the checkpoint of ``step``: ``weights/NAME`` and ``optimizer/NAME/KEY``."""
    folder = spec.work / "checkpoints" / f"step_{step:08d}"
    with StoredParts(folder, sorted(path.name for path in folder.glob("rank_*.json"))) as stored:
        shapes = {name: stored.shape(name) for name in stored.names()}
        return {n: stored.rows(n, 0, shape[0]).clone() if shape else stored.scalar(n) for n, shape in shapes.items()}
