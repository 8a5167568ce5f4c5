"""Weights & Biases: off, offline, or online with a key from the environment."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from llm_core.train.rank_files import write_whole
from llm_core.train.ready import check_tracking
from llm_core.train.spec import TrainerSpec
from llm_core.train.work_folder import WANDB, WANDB_RUN_ID, leave_growing

_RUN_ID = re.compile("[0-9a-f]{12}")


class Tracker(Protocol):
    """Takes the figures of every step."""

    def log(self, figures: Mapping[str, Any]) -> None:
        """Figures of one step, ``step`` among them."""

    def finish(self, succeeded: bool) -> None:
        """The run has ended, or stops here for now."""


class _Off:
    def log(self, figures: Mapping[str, Any]) -> None:
        pass

    def finish(self, succeeded: bool) -> None:
        pass


class _Wandb:
    def __init__(self, spec: TrainerSpec) -> None:
        import wandb

        assert spec.tracking.wandb != "off"
        # Everything stays in the work folder: no settings, caches or logs in the user's home.
        folder = spec.work / WANDB
        folder.mkdir(exist_ok=True)
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            os.environ.setdefault(name, str(folder))
        identity = _run_id(spec.work / WANDB_RUN_ID)
        self._run = wandb.init(
            mode=spec.tracking.wandb,
            project=spec.tracking.project,
            name=spec.name,
            id=identity,
            resume="allow" if spec.tracking.wandb == "online" else None,
            dir=spec.work,
            config=spec.model_dump(mode="json", include={"model", "training", "vocab_size", "seed"}),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )
        if spec.tracking.wandb == "offline":
            # All that `wandb sync` needs; W&B's own process writes it.
            leave_growing(spec.work, Path(self._run.dir).parent / f"run-{identity}.wandb")

    def log(self, figures: Mapping[str, Any]) -> None:
        told = {name: value for name, value in figures.items() if name != "step" and value is not None}
        self._run.log(told, step=figures["step"])

    def finish(self, succeeded: bool) -> None:
        self._run.finish(exit_code=0 if succeeded else 1)


def open_tracker(spec: TrainerSpec) -> Tracker:
    """The tracker that ``spec`` asks for; a run that goes on keeps its id."""
    if spec.tracking.wandb == "off":
        return _Off()
    check_tracking(spec.tracking)
    return _Wandb(spec)


def _run_id(path: Path) -> str:
    try:
        known = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        known = ""
    if not _RUN_ID.fullmatch(known):  # as a kill or a full disk may leave it
        known = uuid4().hex[:12]
        write_whole(path, known.encode())
    return known
