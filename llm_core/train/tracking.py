"""Weights & Biases: off, offline, or online with a key from the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from llm_core.errors import PedigreeError
from llm_core.experiment.runtime import TrackingSpec
from llm_core.runtime_only import runtime_only
from llm_core.train.spec import TrainerSpec

_KEY = "WANDB_API_KEY"


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
        folder = spec.work / "wandb"
        folder.mkdir(exist_ok=True)
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            os.environ.setdefault(name, str(folder))
        self._run = wandb.init(
            mode=spec.tracking.wandb,
            project=spec.tracking.project,
            name=spec.name,
            id=_run_id(spec.work / "wandb_run_id"),
            resume="allow" if spec.tracking.wandb == "online" else None,
            dir=spec.work,
            config=spec.model_dump(mode="json", include={"model", "training", "vocab_size", "seed"}),
            settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
        )

    def log(self, figures: Mapping[str, Any]) -> None:
        told = {name: value for name, value in figures.items() if name != "step" and value is not None}
        self._run.log(told, step=figures["step"])

    def finish(self, succeeded: bool) -> None:
        self._run.finish(exit_code=0 if succeeded else 1)


def open_tracker(spec: TrainerSpec) -> Tracker:
    """The tracker that ``spec`` asks for; a run that goes on keeps its id."""
    if spec.tracking.wandb == "off":
        return _Off()
    require_key(spec.tracking)
    return _Wandb(spec)


@runtime_only("refuses before any work")
def require_key(tracking: TrackingSpec) -> None:
    """``PedigreeError`` when W&B is online without a key."""
    if tracking.wandb == "online" and not os.environ.get(_KEY):
        raise PedigreeError(
            f"tracking.wandb is 'online', but there is no {_KEY} in the environment; set it, or use 'offline' or 'off'"
        )


def _run_id(path: Path) -> str:
    if not path.exists():
        path.write_text(uuid4().hex[:12], encoding="utf-8")
    return path.read_text(encoding="utf-8")
