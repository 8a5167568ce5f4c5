"""Runs of the comparison: each a training process of one thread, found again by what it is."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.code_digest import CodeReader, digest_of
from llm_core.registries import FEED_FORWARDS, MIXERS, NORMS, OPTIMIZERS, POSITIONS, SCHEDULES
from llm_core.store.home import PROJECT
from llm_core.train.metrics_log import METRICS, read_metrics
from llm_core.train.spec import SUMMARY, TrainerSpec

BASELINE = "baseline"


def code_digest() -> str:
    """What the trainer's code is, whatever an idea uses of it: runs of other code are not found again."""
    names = frozenset(
        name for table in (MIXERS, FEED_FORWARDS, POSITIONS, NORMS, OPTIMIZERS, SCHEDULES) for name in table
    )
    return digest_of(CodeReader(PROJECT).digests(["llm_core.train.loop:train"], names))[:12]


@dataclass(frozen=True)
class Run:
    """What is trained, and under which name it stands in the table. Runs are compared by what they are."""

    name: str
    model: ModelSpec
    training: TrainingSpec
    seed: int

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> str:
        """What decides the result, in 16 hexadecimal digits; names don't."""
        content = [self.model.model_dump(mode="json"), self.training.model_dump(mode="json"), self.seed]
        return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def spec(self, shards: Path, home: Path, vocab_size: int) -> TrainerSpec:
        """What the trainer is told; the work folder is named by everything that decides the result."""
        return TrainerSpec(
            model=self.model,
            training=self.training,
            vocab_size=vocab_size,
            seed=self.seed,
            shards=shards,
            work=home / shards.name / self.key,
            name=self.name,
            checkpoint_every=self.training.steps,
        )


@dataclass(frozen=True)
class Outcome:
    """``losses``: (tokens, validation loss in nats). ``memory``: peak bytes of the process. ``seconds``: its steps'."""

    run: Run
    losses: list[tuple[int, float]]
    memory: int
    seconds: float

    @property
    def loss(self) -> float:
        """The last validation loss, nats per token."""
        return self.losses[-1][1]


def finished(spec: TrainerSpec) -> bool:
    """Whether the run is there from before."""
    return (spec.work / SUMMARY).exists()


def carry_out(runs: Sequence[Run], shards: Path, home: Path, vocab_size: int, jobs: int) -> list[Outcome]:
    """Train what is not there yet, ``jobs`` processes at a time; one line as each ends."""

    def one(run: Run) -> Outcome:
        spec = run.spec(shards, home, vocab_size)
        if not finished(spec):
            train(spec)
        outcome = read(run, spec)
        print(f"{run.name} seed {run.seed}: {run.training.tokens:,} tokens, {outcome.loss:.4f} nats", flush=True)
        return outcome

    with ThreadPoolExecutor(jobs) as pool:
        # A run that stands there twice (an idea as fast as the baseline) is trained once.
        trained = dict(zip(distinct := list(dict.fromkeys(runs)), pool.map(one, distinct), strict=True))
    return [replace(trained[run], run=run) for run in runs]


def train(spec: TrainerSpec) -> None:
    """One training process."""
    spec.work.mkdir(parents=True, exist_ok=True)
    path = spec.work / "spec.json"
    spec.write(path)
    environment: Mapping[str, str] = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (spec.work / "log").open("ab") as log:
        command = [sys.executable, "-m", "llm_core.train", str(path)]
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{spec.name}, seed {spec.seed}: exit code {done.returncode}; see {spec.work / 'log'}")


def read(run: Run, spec: TrainerSpec) -> Outcome:
    """What a finished run left."""
    records: list[dict[str, Any]] = read_metrics(spec.work / METRICS)
    losses = [(row["tokens"], row["validation_loss"]) for row in records if row.get("validation_loss") is not None]
    summary = json.loads((spec.work / SUMMARY).read_bytes())
    return Outcome(run, losses, summary["peak_memory_bytes"], sum(row["seconds"] for row in records))
