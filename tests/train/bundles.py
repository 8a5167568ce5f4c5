"""An experiment whose training runs are trained elsewhere, from bundles."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from assets.training import stages
from llm_core.experiment.experiment import Experiment
from llm_core.experiment.load import load_experiment
from llm_core.graph.code_digest import CodeReader
from llm_core.graph.execute import Outcome, materialize
from llm_core.graph.graph import Graph
from llm_core.graph.job import Job, Runtime
from llm_core.graph.plan import Planner
from llm_core.graph.results import Results
from llm_core.graph.stage import Stage
from llm_core.store.home import PROJECT
from llm_core.store.store import Store
from llm_core.train.bundle import Bundle, write_bundle
from llm_core.train.bundle_manifest import file_digests
from llm_core.train.run_record import RECORD
from tests.graph import toy
from tests.train.runs import write_shards

EXPERIMENT = """
extends: MICRO
training:
  tokens: 1280
  schedule: {kind: wsd, cooldown_steps: 3}
  branch_points: [6]
branches: {short: {from_step: 6, steps: 2}}
long_context:
  position: {theta: 20000.0}
  training: {sequence_length: 64, batch_tokens: 128, tokens: 384, validation_tokens: 512, precision: fp32}
compute: {checkpoint_every: 3}
"""


def make_shards(job: Job, tokens: int) -> Results:
    write_shards(job.work / "made", tokens=tokens)
    shutil.copytree(job.work / "made", job.out, dirs_exist_ok=True)
    return Results()


def make_tokenizer(job: Job) -> Results:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({f"w{number}": number for number in range(300)}, unk_token="w0")).save(
        str(job.out / "tokenizer.json")
    )
    return Results()


@cache
def reader(root: Path) -> CodeReader:
    return CodeReader(root, ("llm_core", "tests"))


@dataclass
class Home:
    """A folder with a store; ``edit`` changes the experiment, as text."""

    folder: Path
    edit: tuple[str, str] = ("", "")
    tokens: int = 20_000
    code: Path = PROJECT

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def experiment(self) -> Experiment:
        path = self.folder / "away.yaml"
        micro = PROJECT / "tests" / "pipelines" / "micro"
        self.folder.mkdir(exist_ok=True)
        path.write_text("name: away" + EXPERIMENT.replace("MICRO", str(micro)).replace(*self.edit))
        return load_experiment(path)

    def planner(self) -> Planner:
        made = [
            Stage("token_shards", "tokens", "", "tests.train.bundles:make_shards", config={"tokens": self.tokens}),
            Stage("tokenizer", "tokens", "", "tests.train.bundles:make_tokenizer"),
        ]
        graph = Graph("away", [*made, *stages(self.experiment)])
        return Planner(graph, self.store, reader(self.code), {})

    def gated(self, forbidden: int = -1) -> Planner:
        """A planner of a graph in which the full run has a gate."""
        planner = self.planner()
        gate = replace(toy.stage("gate", forbidden=forbidden), code=())
        waiting = [replace(stage, gates=("gate",) * (stage.name == "pretrained_model")) for stage in planner.graph]
        return Planner(Graph("away", [gate, *waiting]), self.store, reader(self.code), {})

    def make(self, *names: str, **compute: Any) -> Outcome:
        """Make these stages, with changes of ``compute``; returns the outcome of the last one."""
        runtime = Runtime(compute=self.experiment.compute.model_copy(update=compute), tracking=self.experiment.tracking)
        outcomes = [materialize(self.planner(), name, runtime) for name in names]
        return outcomes[-1]

    def bundle(self, folder: Path, stage: str = "pretrained_model", include: bool = True) -> Bundle:
        return write_bundle(self.planner(), self.experiment, stage, folder, include)


def start(bundle: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run its run.sh with this Python, and with ``settings`` in the environment."""
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **settings}
    return subprocess.run(
        ["bash", str(bundle / "run.sh"), *arguments], env=environment, capture_output=True, text=True, timeout=300
    )


def write_fitting_record(run: Path, **spec: Any) -> None:
    """Rewrite run.json for the current files and with changes of its spec, as a forger would."""
    content = json.loads(json.loads((run / RECORD).read_text())["content"])
    present = {name: run / name for name in content["files"] if (run / name).is_file()}
    content["files"] = {name: file.model_dump() for name, file in file_digests(present).items()}
    content["spec"] |= spec
    text = json.dumps(content)
    (run / RECORD).write_text(json.dumps({"content": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
