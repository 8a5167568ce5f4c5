"""The finished runs of an experiment's study, with their losses; and how fast a run of it is."""

import math
import statistics
import tempfile
import time
from pathlib import Path

import torch

from llm_core.experiment.base import from_plain
from llm_core.experiment.component import over
from llm_core.experiment.training import TrainingSpec
from llm_core.store.manifest import Artifact
from llm_core.study.study_run import StudyRun
from llm_core.train import loop
from llm_core.train.distribution import World
from llm_core.train.interruption import StopRequest
from llm_core.train.results import TrainingResults
from llm_core.train.spec import TrainerSpec
from pipelines.session import Session


def finished(session: Session, runs: tuple[StudyRun, ...]) -> list[tuple[StudyRun, float]]:
    """Each run with its held-out bits per byte; NaN for one that diverged. Runs that were not made are left out."""
    items = {item.stage: item.artifact for item in session.planner().plan()}
    return [(run, _loss(artifact)) for run in runs if (artifact := items[run.role]) is not None]


def _loss(artifact: Artifact) -> float:
    loss = artifact.results(TrainingResults).final_validation_bits_per_byte
    return math.nan if loss is None else loss


def relative_speed(session: Session, role: str, other: str, turns: int = 5) -> float:
    """Tokens of the run ``role`` per second of processor time, over those of ``other``: the median of ``turns``, each
    with both. Other programs on the machine hardly change processor time."""
    return statistics.median(_step_seconds(session, other) / _step_seconds(session, role) for _ in range(turns))


def _step_seconds(session: Session, role: str) -> float:
    """Seconds per token, from two short trainings: beginning and end cost both of them the same."""
    (short, few), (long, many) = (_seconds(session, role, steps) for steps in (10, 110))
    return (long - short) / (many - few)


def _seconds(session: Session, role: str, steps: int) -> tuple[float, int]:
    """Processor time and tokens of a short training with the model and optimiser of the run ``role``."""
    config = session.graph[role].config
    shards = session.planner().look("token_shards")[-1].artifact
    assert shards is not None
    tokens = steps * config["training"].batch_tokens
    changes = {
        "tokens": tokens,
        "schedule": {"kind": "constant", "warmup_steps": 0},
        "validate_every": steps,
        "branch_points": [],
    }
    training = from_plain(TrainingSpec, over(config["training"].model_dump(mode="json"), changes))
    with tempfile.TemporaryDirectory() as work:
        fields = {"model": config["model"], "training": training, "vocab_size": config["vocab_size"]}
        places = {"shards": shards.path, "work": Path(work), "seed": config["seed"]}
        spec = TrainerSpec.of(session.experiment.compute, **fields, **places)
        began = time.process_time()
        loop.train(spec, World(0, 1, torch.device("cpu")), StopRequest(), lambda _: None)
        return time.process_time() - began, tokens
