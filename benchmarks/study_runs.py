"""The finished runs of an experiment's study, with their losses."""

import math

from llm_core.store.manifest import Artifact
from llm_core.study.study_run import StudyRun
from llm_core.train.results import TrainingResults
from pipelines.session import Session


def finished(session: Session, runs: tuple[StudyRun, ...]) -> list[tuple[StudyRun, float]]:
    """Each run with its held-out bits per byte; NaN for one that diverged. Runs that were not made are left out."""
    items = {item.stage: item.artifact for item in session.planner().plan()}
    return [(run, _loss(artifact)) for run in runs if (artifact := items[run.role]) is not None]


def _loss(artifact: Artifact) -> float:
    loss = artifact.results(TrainingResults).final_validation_bits_per_byte
    return math.nan if loss is None else loss
